"""
Steps of a start that are waited for, but not for ever.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.role_service import wait_for_steps


class WaitForStepsTests(SynchronousTestCase):
    """Two steps, and three seconds."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.steps: dict[str, Deferred[None]] = {"a": Deferred(), "b": Deferred()}
        self.late = Deferred.fromCoroutine(wait_for_steps(self.steps, 3, self.clock))

    def test_all(self) -> None:
        """A start would go on before its steps are done, or wait in vain."""
        self.steps["b"].callback(None)
        self.assertNoResult(self.late)
        self.steps["a"].callback(None)
        self.assertEqual(self.successResultOf(self.late), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late(self) -> None:
        """A start would wait for ever, or cancel what is late."""
        self.steps["b"].callback(None)
        self.clock.advance(3)
        self.assertEqual(self.successResultOf(self.late), ["a"])
        self.steps["a"].callback(None)

    def test_fails(self) -> None:
        """A role would start although a step has failed."""
        self.steps["b"].errback(ZeroDivisionError())
        self.failureResultOf(self.late, ZeroDivisionError)

    def test_fails_late(self) -> None:
        """Nobody would hear of it."""
        self.clock.advance(3)
        self.assertEqual(self.successResultOf(self.late), ["a", "b"])
        self.steps["b"].errback(ZeroDivisionError())
        self.failureResultOf(self.steps["b"], ZeroDivisionError)
