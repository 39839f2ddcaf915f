"""
A deadline that can be moved often at low cost.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Deadline"]

#: Fewer seconds than this are not waited for: they may be a rounding error of the clock.
_SOON = 0.001


class Deadline:
    """
    Calls *expired* when the deadline has passed and the reactor has read what arrived before it:
    a process that stood still, such as one on a suspended machine, must not punish its clients.

    Moving the deadline to a later time costs only an assignment.  The pending timer is kept; when
    it fires, it starts again for the time that remains.

    :param clock: for the timer.
    :param expired: called without arguments; it may call `set`.
    """

    def __init__(self, clock: IReactorTime, expired: Callable[[], object]) -> None:
        self._clock = clock
        self._expired = expired
        self._at: float | None = None
        self._call: IDelayedCall | None = None
        self._call_at = 0.0
        self._passed = False

    def set(self, seconds: float | None) -> None:
        """
        Set or replace the deadline.

        :param seconds: from now; ``None`` for no deadline.  A deadline that has passed is one now.
        """
        if seconds is None:
            self._at = None
            return
        seconds = max(seconds, 0.0)  # the reactor refuses less
        self._at = self._clock.seconds() + seconds
        self._passed = False
        if self._call is None:
            self._start(seconds)
        elif self._call_at > self._at:
            self._call_at = self._at
            self._call.reset(seconds)

    def _start(self, seconds: float) -> None:
        self._call = self._clock.callLater(seconds, self._look)
        self._call_at = self._call.getTime()

    def _look(self) -> None:
        self._call = None
        if self._at is None:
            return
        left = self._at - self._clock.seconds()
        if left > _SOON:
            self._start(left)
        elif not self._passed:
            self._passed = True
            self._start(0)
        else:
            self._at = None
            self._expired()

    def stop(self) -> None:
        """Cancel the deadline and its timer, for good; idempotent."""
        self._at, self._expired = None, _nothing  # breaks the reference cycle
        if self._call is not None:
            self._call.cancel()
            self._call = None


def _nothing() -> None:
    pass
