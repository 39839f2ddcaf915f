"""
A call that waits for a connection to PostgreSQL, or has one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from chatfiles.platform.registry.postgres.connection import PostgresConnection

__all__ = ["Call", "StaggeredFailures", "Work"]

#: Callers that are told of a failure in one turn of the reactor: a thousand at once would hold up
#: everybody else for long.
AT_ONCE = 20

T = TypeVar("T")
#: Works on a connection that nobody else uses meanwhile.
Work = Callable[[PostgresConnection, "Call[Any]"], Deferred[T]]


class Call(Generic[T]):
    """
    A call on its way.

    :ivar retried: it has been made on a second connection.
    :ivar abandoned: nobody waits for it any more.
    """

    deadline: IDelayedCall
    hang: IDelayedCall | None = None
    link: PostgresConnection | None = None
    started = 0.0
    retried = False
    abandoned = False

    def __init__(self, what: str, work: Work[T], *, again: bool) -> None:
        self.what = what
        self.work = work
        self.again = again
        self.answer: Deferred[T] = Deferred(self._cancelled)
        self.left: Callable[[Call[T]], None] = lambda _: None

    def _cancelled(self, _: Deferred[T]) -> None:
        if not self.abandoned:
            self.abandoned = True
            self.deadline.cancel()
            self.left(self)


class StaggeredFailures:
    """
    Tells callers of failures, a few in each turn of the reactor.

    :param told: called whenever some have been told.
    """

    def __init__(self, clock: IReactorTime, told: Callable[[], None]) -> None:
        self._clock = clock
        self._told = told
        self._failed: deque[tuple[Call[Any], BaseException]] = deque()
        self._next: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._failed)

    def fail(self, call: Call[Any], error: BaseException) -> None:
        """Nothing is done for *call* any more, and its caller will be told why."""
        call.abandoned = True
        self._failed.append((call, error))
        if self._next is None:
            self._next = self._clock.callLater(0, self._tell)

    def _tell(self) -> None:
        for _ in range(min(AT_ONCE, len(self._failed))):
            call, error = self._failed.popleft()
            if not call.answer.called:
                call.answer.errback(error)
        self._next = self._clock.callLater(0, self._tell) if self._failed else None
        self._told()
