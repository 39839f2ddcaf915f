"""
A clock that tells one turn of the reactor from the next.
"""

from __future__ import annotations

from twisted.internet.task import Clock

__all__ = ["TurnClock"]


class TurnClock(Clock):
    """A clock that leaves to the next turn what is asked for in this one, as a reactor does."""

    def advance(self, amount: float) -> None:
        """Run what is due already."""
        self.rightNow += amount
        for call in [each for each in self.calls if each.getTime() <= self.rightNow]:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)
