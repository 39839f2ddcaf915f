"""
Timeouts of one length that start often and seldom pass.  They share one timer of the reactor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["EqualTimeouts", "Timeout"]


class Timeout:
    """
    One timeout.

    :ivar at: when it passes, on the clock of its `EqualTimeouts`.
    """

    __slots__ = ("_expired", "at")

    def __init__(self, at: float, expired: Callable[[], object]) -> None:
        self.at = at
        self._expired: Callable[[], object] | None = expired

    @property
    def active(self) -> bool:
        """Whether it has neither passed nor been stopped."""
        return self._expired is not None

    def stop(self) -> None:
        """Forget it; idempotent."""
        self._expired = None

    def expire(self) -> None:
        """It has passed."""
        expired, self._expired = self._expired, None
        if expired is not None:
            expired()


class EqualTimeouts:
    """
    Starts timeouts.  As with `chatfiles.streams.stall_timeout.StallTimeout`, the reactor reads what
    has arrived before one of them passes.

    :param clock: for the timer.
    :param seconds: the length of each timeout.
    """

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._started: deque[Timeout] = deque()
        self._timer: IDelayedCall | None = None

    def start(self, expired: Callable[[], object]) -> Timeout:
        """
        :param expired: called without arguments when the timeout has passed.
        :return: the timeout.
        """
        self._drop_stopped()
        timeout = Timeout(self._clock.seconds() + self._seconds, expired)
        self._started.append(timeout)
        if self._timer is None:
            self._timer = self._clock.callLater(self._seconds, self._check)
        return timeout

    def stop(self) -> None:
        """Stop all timeouts, and the timer."""
        self._started.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        while self._started and self._started[0].at <= now:
            self._clock.callLater(0, self._started.popleft().expire)
        self._drop_stopped()
        if self._started:
            self._timer = self._clock.callLater(self._started[0].at - now, self._check)

    def _drop_stopped(self) -> None:
        while self._started and not self._started[0].active:
            self._started.popleft()
