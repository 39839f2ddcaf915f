"""
Runs calls that may block in threads, so that a slow disk does not block the reactor.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from functools import partial
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from chatfiles.errors import Unavailable
from chatfiles.runtime.call_queue import Call, CallQueue, Limits

__all__ = ["Threads"]

T = TypeVar("T")


class Threads:
    """
    A pool of threads, and the queue of calls that wait for one.

    :param reactor: delivers results; provides ``IReactorFromThreads`` and ``IReactorTime``.
    :param name: of the threads.
    :param most: the most threads.
    :param per_owner: the most threads for the calls of one owner; ``None`` for no limit.
    :param most_waiting: the most calls of one owner that may wait for a thread.
    :param abandon: whether the process may end while threads are still in a call, such as a look-up
        without a response, or a read from a disk that hangs.
    """

    def __init__(
        self,
        reactor: Any,
        name: str,
        most: int,
        *,
        per_owner: int | None = None,
        most_waiting: int = 10_000,
        abandon: bool = False,
    ) -> None:
        self._reactor = reactor
        self._most = most
        self._abandon = abandon
        # Each owner has a limit of its own: one that hangs must not use up the others'.
        total = most_waiting if per_owner is None else sys.maxsize
        limits = Limits(0, per_owner, total, most_waiting)
        self._queue = CallQueue(self._begin, reactor, limits, refusal=_all_busy)
        self._pool = ThreadPool(0, most, name)
        if abandon:
            self._pool.threadFactory = _DaemonThread

    @property
    def running(self) -> int:
        """The number of threads in a call."""
        return self._queue.running

    def start(self) -> None:
        """Start to run calls, including those submitted before."""
        self._pool.start()
        self._queue.resize(self._most)

    def settled(self) -> Deferred[None]:
        """
        Wait for this before `stop`.  Otherwise results, and the calls that they would lead to, are
        lost.

        :return: fires when every result has been delivered and has led to no further call; at once
            if `start` was not called.
        """
        return self._queue.settled() if self._pool.started else succeed(None)

    def stop(self) -> None:
        """
        Wait for the running calls, then end the threads.  Calls that may be abandoned are not
        waited for: the threads without a call end now, and the others when they have run what was
        submitted before.
        """
        if not self._pool.started:
            return
        if self._abandon and self.running:
            self._pool.adjustPoolsize(0, self.running)
            self.settled().addCallback(lambda _: self.stop())
        else:
            self._pool.stop()

    def run(
        self,
        function: Callable[..., T],
        /,
        *args: Any,
        owner: Hashable = None,
        refusable: bool = True,
        discard: Callable[[T], object] | None = None,
        **kwargs: Any,
    ) -> Deferred[T]:
        """
        Call *function* in a thread.

        :param function: the function; further arguments are passed to it.
        :param owner: the owner of the call, see `chatfiles.runtime.call_queue.Call`.
        :param refusable: whether the call may be refused because too many calls wait.
        :param discard: releases what a result owns that arrives after the Deferred was cancelled;
            called on the reactor thread.
        :return: fires or fails with the result of *function*.  Fails with `Unavailable` if too many
            calls wait, or no thread can be started.  If it is cancelled before the call begins, the
            call never runs; after that, the result is discarded.
        """
        work = partial(function, *args, **kwargs)
        return self._queue.submit(work, owner=owner, refusable=refusable, discard=discard)

    def _begin(self, call: Call[Any]) -> None:
        def done(_: bool, result: Any) -> None:
            self._reactor.callFromThread(call.finish, result)

        try:
            self._pool.callInThreadWithCallback(done, call.work)
        except RuntimeError:  # no memory, or no thread id, for another thread
            # Twisted counts the thread anyway, and would wait for its end.
            self._pool.threads[:] = [t for t in self._pool.threads if t.ident is not None]
            text = "no thread can be started — retry shortly"
            call.finish(Failure(Unavailable(text, retry_after=1)))


class _DaemonThread(Thread):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, daemon=True)


def _all_busy() -> Unavailable:
    return Unavailable("too many calls wait for a thread — retry shortly", retry_after=5)
