"""
One thread that makes blocking calls in turn, each with a deadline for whoever waits.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry.outage_log import Outcome

__all__ = ["CallThread", "ReactorClock"]

#: Calls that may wait for the thread; one more is refused at once.
MAX_WAITING = 10_000

T = TypeVar("T")


class ReactorClock(Protocol):
    """What is needed of a reactor: ``IReactorTime`` and ``IReactorFromThreads``."""

    def seconds(self) -> float:
        """:return: the time on its clock."""

    def callLater(
        self, delay: float, work: Callable[..., object], /, *args: object
    ) -> IDelayedCall:
        """Call on the reactor thread after *delay* seconds."""

    def callFromThread(self, work: Callable[..., object], /, *args: object) -> None:
        """Call on the reactor thread, soon; safe in any thread."""


class CallThread:
    """
    A thread of its own, rather than a pool's, because a call that hangs in the kernel must not
    keep the process from ending, and because one queue is the cheapest way to wake one thread.

    Everything here is called on the reactor thread, except the works themselves.

    :param name: of the thread.
    :param outcome: told of each call that was too slow, and of how each other one ended.
    """

    def __init__(self, name: str, *, clock: ReactorClock, outcome: Outcome) -> None:
        self._clock = clock
        self._outcome = outcome
        self._calls: queue.SimpleQueue[_Call[Any] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._open = False
        self._ended = False
        self._closers: list[Deferred[None]] = []
        self._last: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin to take calls; does nothing the second time, or once closed."""
        if self._thread.ident is None and not self._ended:
            self._open = True
            self._thread.start()

    def call(
        self,
        what: str,
        work: Callable[[], T],
        *,
        timeout: float,
        finished: Callable[[T], None] | None = None,
    ) -> Deferred[T]:
        """
        Call *work* in the thread, after all that was called before.

        A call whose deadline has passed, or which was cancelled, before its turn is not made.  One
        that is being made cannot be stopped; nobody waits for it any more.

        :param what: the call's name in the log.
        :param timeout: seconds from now.
        :param finished: called on the reactor thread with what *work* returned, before the Deferred
            fires, and also when nobody waits any more.
        :return: what *work* returns; fails with `RegistryUnavailable` when the deadline passes, the
            thread takes no calls, or too many are waiting.
        """
        if not self._open or self._waiting >= MAX_WAITING:
            return fail(RegistryUnavailable())
        call = _Call(what, work, finished)
        call.deadline = self._clock.callLater(timeout, self._too_slow, call, timeout)
        self._waiting += 1
        self._calls.put(call)
        return call.answer

    def close(self, last: Callable[[], None], *, timeout: float) -> Deferred[None]:
        """
        Take no more calls, make those that wait, and end the thread; idempotent.

        :param last: called in the thread as its last act.
        :return: fires when the thread has ended, or *timeout* seconds after the first such call.
        """
        closed: Deferred[None] = Deferred()
        self._closers.append(closed)
        if self._open:
            self._open = False
            self._last = last
            self._calls.put(None)
            deadline = self._clock.callLater(timeout, self._hangs, timeout)
            closed.addCallback(lambda _: deadline.cancel() if deadline.active() else None)
        elif self._ended or self._thread.ident is None:
            self._end()
        return closed

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call.make()
            self._clock.callFromThread(self._finish, call)
        self._last()
        self._clock.callFromThread(self._end)

    def _finish(self, call: _Call[Any]) -> None:
        self._waiting -= 1
        if not call.made:
            return
        self._outcome(call.what, call.error)
        if call.error is None and call.finished is not None:
            call.finished(call.result)
        if not call.abandoned:
            call.deadline.cancel()
            if call.error is None:
                call.answer.callback(call.result)
            else:
                call.answer.errback(call.error)

    def _too_slow(self, call: _Call[T], timeout: float) -> None:
        self._outcome(call.what, TimeoutError(f"no answer within {timeout:g} s"))
        call.abandoned = True
        call.answer.errback(RegistryUnavailable())

    def _hangs(self, timeout: float) -> None:
        self._outcome("close", TimeoutError(f"a call still hangs after {timeout:g} s"))
        self._end()

    def _end(self) -> None:
        self._ended = True
        closers, self._closers = self._closers, []
        for closed in closers:
            closed.callback(None)


class _Call(Generic[T]):
    """A call on its way: made or not, waited for or not."""

    deadline: IDelayedCall
    result: T

    def __init__(
        self, what: str, work: Callable[[], T], finished: Callable[[T], None] | None
    ) -> None:
        self.what = what
        self.finished = finished
        self.answer: Deferred[T] = Deferred(self._cancelled)
        self.abandoned = False
        self.made = False
        self.error: BaseException | None = None
        self._work = work

    def make(self) -> None:
        """Make the call, in the thread, unless nobody waits for it."""
        if self.abandoned:
            return
        self.made = True
        try:
            self.result = self._work()
        except BaseException as error:
            self.error = error

    def _cancelled(self, _: Deferred[T]) -> None:
        self.abandoned = True
        self.deadline.cancel()
