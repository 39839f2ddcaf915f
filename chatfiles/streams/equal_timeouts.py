"""
Timeouts of one length that start often and seldom pass.  They share one timer of the reactor.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["EqualTimeouts", "Timeout"]


class Timeout:
    """
    One timeout.

    :param active: all timeouts that have neither passed nor been stopped.
    :ivar at: when it passes, on the clock of its `EqualTimeouts`.
    """

    __slots__ = ("_active", "_expired", "at")

    def __init__(
        self, active: dict[Timeout, None], at: float, expired: Callable[[], object]
    ) -> None:
        self._active = active
        self.at = at
        self._expired: Callable[[], object] | None = expired
        active[self] = None

    @property
    def active(self) -> bool:
        """Whether it has neither passed nor been stopped."""
        return self in self._active

    def stop(self) -> None:
        """Forget it; idempotent."""
        self._expired = None
        self._active.pop(self, None)

    def expire(self) -> None:
        """It has passed."""
        expired = self._expired
        self.stop()
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
        self._active: dict[Timeout, None] = {}  # in the order of their starts
        self._timer: IDelayedCall | None = None

    def start(self, expired: Callable[[], object]) -> Timeout:
        """
        :param expired: called without arguments when the timeout has passed.
        :return: the timeout.
        """
        timeout = Timeout(self._active, self._clock.seconds() + self._seconds, expired)
        if self._timer is None:
            self._timer = self._clock.callLater(self._seconds, self._check)
        return timeout

    def stop(self) -> None:
        """Stop all timeouts, and the timer."""
        self._active.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        for timeout in self._active:
            if timeout.at > now:
                self._timer = self._clock.callLater(timeout.at - now, self._check)
                break
            self._clock.callLater(0, timeout.expire)
