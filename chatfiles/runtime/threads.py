"""
Runs calls that may block in threads, so that a slow disk does not hold up the reactor.
"""

from __future__ import annotations

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

    :param reactor: where results are delivered; provides ``IReactorFromThreads`` and
        ``IReactorTime``.
    :param name: of the threads.
    :param most: how many threads there are at most.
    :param per_owner: how many of them the calls of one owner may take; all, if not given.
    :param most_waiting: calls of one owner, or without an owner, that may wait for a thread.
    :param abandon: whether the process may end while some threads are still in a call, such as a
        look-up that no server answers, or a read from a disk that hangs.
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
        limits = Limits(0, per_owner, queued_per_owner=most_waiting)
        self._queue = CallQueue(self._begin, reactor, limits, refusal=_all_busy)
        self._pool = ThreadPool(0, most, name)
        if abandon:
            self._pool.threadFactory = _DaemonThread

    @property
    def running(self) -> int:
        """How many threads are in a call."""
        return self._queue.running

    def start(self) -> None:
        """Begin to run calls, those first that were asked for before."""
        self._pool.start()
        self._queue.resize(self._most)

    def settled(self) -> Deferred[None]:
        """
        :return: fires when every result has been delivered and has led to no further call, or at
            once if `start` was not called.  What a result would lead to is lost if `stop` is called
            before that.
        """
        return self._queue.settled() if self._pool.started else succeed(None)

    def stop(self) -> None:
        """Wait for the calls that run, unless they may be abandoned, and end the threads."""
        if self._pool.started and not (self._abandon and self.running):
            self._pool.stop()

    def run(
        self,
        function: Callable[..., T],
        /,
        *args: Any,
        owner: Hashable = None,
        refusable: bool = True,
        **kwargs: Any,
    ) -> Deferred[T]:
        """
        Call *function* in a thread.

        :param owner: whose call it is, see `chatfiles.runtime.call_queue.Call`.
        :param refusable: whether it may be refused because too many calls wait.
        :return: what *function* returns or raises.  Fails with `Unavailable` if too many calls
            wait, or no thread can be started.  Cancelling it before the call has begun drops the
            call; afterwards, its result is dropped.
        """
        work = partial(function, *args, **kwargs)
        return self._queue.submit(work, owner=owner, refusable=refusable)

    def run_or_discard(
        self,
        discard: Callable[[T], object],
        function: Callable[..., T],
        /,
        *args: Any,
        owner: Hashable = None,
        refusable: bool = True,
        **kwargs: Any,
    ) -> Deferred[T]:
        """
        As `run`, for a result that owns something.

        :param discard: called on the reactor's thread with a result that arrives after the Deferred
            was cancelled.
        """
        work = partial(function, *args, **kwargs)
        return self._queue.submit(work, owner=owner, refusable=refusable, discard=discard)

    def _begin(self, call: Call[Any]) -> None:
        def done(_: bool, result: Any) -> None:
            self._reactor.callFromThread(call.finish, result)

        try:
            self._pool.callInThreadWithCallback(done, call.work)
        except RuntimeError:  # no memory, or no process id, for one more thread
            # Twisted counts the thread all the same, and would wait for its end.
            self._pool.threads[:] = [t for t in self._pool.threads if t.ident is not None]
            text = "no thread can be started — retry shortly"
            call.finish(Failure(Unavailable(text, retry_after=1)))


class _DaemonThread(Thread):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, daemon=True)


def _all_busy() -> Unavailable:
    return Unavailable("too many calls wait for a thread — retry shortly", retry_after=5)
