"""
A clock for what happens when a process has stood still.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock

__all__ = ["ReadingClock"]


class ReadingClock(Clock):
    """A clock that reads once in each turn, after the timers that were due, as a reactor does."""

    def __init__(self, read: Callable[[], object]) -> None:
        super().__init__()
        self._read = read

    def stand_still(self, seconds: float) -> None:
        """Let *seconds* pass at once, and run two turns."""
        self.rightNow += seconds
        for _ in range(2):
            for call in [each for each in self.calls if each.getTime() <= self.rightNow]:
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)
            self._read()
