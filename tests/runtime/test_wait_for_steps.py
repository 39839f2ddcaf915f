"""
Steps of a start that are waited for, up to a timeout.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.role_service import wait_for_steps


class WaitForStepsTests(SynchronousTestCase):
    """Two steps, and a timeout of three seconds."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.steps: dict[str, Deferred[None]] = {"a": Deferred(), "b": Deferred()}
        self.late = Deferred.fromCoroutine(wait_for_steps(self.steps, 3, self.clock))

    def test_all(self) -> None:
        """The start continues as soon as all steps are done."""
        self.steps["b"].callback(None)
        self.assertNoResult(self.late)
        self.steps["a"].callback(None)
        self.assertEqual(self.successResultOf(self.late), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late(self) -> None:
        """The start continues at the timeout, and does not cancel the late steps."""
        self.steps["b"].callback(None)
        self.clock.advance(3)
        self.assertEqual(self.successResultOf(self.late), ["a"])
        self.steps["a"].callback(None)

    def test_fails(self) -> None:
        """The start fails if a step fails."""
        self.steps["b"].errback(ZeroDivisionError())
        self.failureResultOf(self.late, ZeroDivisionError)

    def test_fails_late(self) -> None:
        """The error of a step that fails after the timeout is not swallowed."""
        self.clock.advance(3)
        self.assertEqual(self.successResultOf(self.late), ["a", "b"])
        self.steps["b"].errback(ZeroDivisionError())
        self.failureResultOf(self.steps["b"], ZeroDivisionError)
