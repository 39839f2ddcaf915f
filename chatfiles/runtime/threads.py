"""
Calls that may block, on threads of their own: a slow disk must not hold up a name look-up.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.threadpool import ThreadPool

from chatfiles.errors import Unavailable

__all__ = ["Threads"]

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """
    A bounded pool of threads.

    :param reactor: where results are delivered.
    :param name: of the threads.
    :param most: how many there are at most.
    :param abandon: whether the process may end while some are still in a call, such as a look-up
        that no server answers, or a read from a disk that hangs.
    """

    def __init__(
        self, reactor: IReactorFromThreads, name: str, most: int, *, abandon: bool = False
    ) -> None:
        self._reactor = reactor
        self._abandon = abandon
        self._unsettled = 0
        self._settling: list[Deferred[None]] = []
        self._pool = ThreadPool(0, most, name)
        if abandon:
            self._pool.threadFactory = _DaemonThread

    def start(self) -> None:
        """Begin to run what has been and will be asked for."""
        self._pool.start()

    def settled(self) -> Deferred[None]:
        """
        :return: fires when every result has been delivered, and nothing was asked for in reply.  To
            `stop` before that is to lose what a result would have led to.
        """
        settled: Deferred[None] = Deferred()
        self._settling.append(settled)
        self._tell_settled()
        return settled

    def _tell_settled(self) -> None:
        if not (self._unsettled and self._pool.started):
            settling, self._settling = self._settling, []
            for settled in settling:
                settled.callback(None)

    def stop(self) -> None:
        """Wait for what is running, unless it may be abandoned, and end."""
        if self._pool.started and not (self._abandon and self._unsettled):
            self._pool.stop()

    def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """
        :return: the result of *function*, called in a thread; fails with `Unavailable` when none
            can be started.
        """
        return self.run_or_discard(_drop, function, *args, **kwargs)

    def run_or_discard(
        self,
        discard: Callable[[T], object],
        function: Callable[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Deferred[T]:
        """
        As `run`, for a result that owns something.

        :param discard: called with a result that nobody waits for any more, because the Deferred
            was cancelled meanwhile.
        """
        waiting: Deferred[T] = Deferred(lambda _: None)

        def deliver(success: bool, result: Any) -> None:
            try:
                if not waiting.called:
                    waiting.callback(result)
                elif success:
                    discard(result)
            finally:
                self._unsettled -= 1
                self._tell_settled()

        def done(success: bool, result: Any) -> None:
            self._reactor.callFromThread(deliver, success, result)

        try:
            self._pool.callInThreadWithCallback(done, function, *args, **kwargs)
        except RuntimeError:  # no memory, or no process id, for a thread more
            # Twisted counts it all the same, and would wait for its end.
            self._pool.threads[:] = [t for t in self._pool.threads if t.ident is not None]
            return fail(Unavailable("no thread can be started — retry shortly", retry_after=1))
        self._unsettled += 1
        return waiting


class _DaemonThread(Thread):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, daemon=True)


def _drop(result: object) -> None:
    """A plain value needs no care."""
