"""
What a role does after SIGHUP.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.reload import Reload


class ReloadTests(SynchronousTestCase):
    """The actions run in order, whatever one of them does."""

    def setUp(self) -> None:
        self.story: list[str] = []
        self.reload = Reload()
        self.reload.begun = lambda: self.story.append("begun")
        self.reload.done = lambda: self.story.append("done")

    def action(self, name: str, result: Any = None) -> None:
        """Add an action with this result."""

        def act() -> Any:
            self.story.append(name)
            if isinstance(result, Exception):
                raise result
            return result

        self.reload.add(act)

    def test_order(self) -> None:
        """The actions run in the order in which they were added, each time."""
        self.action("first")
        self.action("second")
        for _ in range(2):
            self.successResultOf(self.reload.run())
        self.assertEqual(self.story, ["begun", "first", "second", "done"] * 2)

    def test_waits(self) -> None:
        """It is done when the last action is."""
        slow: Deferred[None] = Deferred()
        self.action("slow", slow)
        self.action("fast")
        done = self.reload.run()
        self.assertNoResult(done)
        self.assertEqual(self.story, ["begun", "slow", "fast"])
        slow.callback(None)
        self.successResultOf(done)
        self.assertEqual(self.story[-1], "done")

    def test_failure(self) -> None:
        """An action that fails is logged; the others run all the same."""
        self.action("raises", ValueError("one"))
        self.action("fails", fail(ValueError("two")))
        self.action("works")
        self.successResultOf(self.reload.run())
        self.assertEqual(self.story, ["begun", "raises", "fails", "works", "done"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)
