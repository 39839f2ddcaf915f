"""
A clock that distinguishes the turns of the reactor.
"""

from __future__ import annotations

from twisted.internet.task import Clock

__all__ = ["TurnClock"]


class TurnClock(Clock):
    """A clock that runs calls scheduled during one turn in the next, as a reactor does."""

    def advance(self, amount: float) -> None:
        """Run the calls that are already due."""
        self.rightNow += amount
        for call in [each for each in self.calls if each.getTime() <= self.rightNow]:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)
