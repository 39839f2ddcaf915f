"""
Tests for the state table of `chatfiles.platform.upstream.connection`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.platform.upstream.connection import TRANSITIONS, Event, State


class TransitionTests(SynchronousTestCase):
    """The table that drives the connection."""

    def test_unambiguous(self) -> None:
        """An event leads from a state to only one state; no row overrides another."""
        causes = [(state, event) for state, event, _ in TRANSITIONS]
        self.assertEqual(len(causes), len(set(causes)))

    def test_complete(self) -> None:
        """The table uses every state and every event."""
        self.assertEqual({event for _, event, _ in TRANSITIONS}, set(Event))
        self.assertEqual({then for _, _, then in TRANSITIONS}, set(State))

    def test_always_ends(self) -> None:
        """The loss of the transport closes the connection, whatever its state."""
        after = {state: then for state, event, then in TRANSITIONS if event is Event.LOST}
        self.assertEqual(set(after), set(State) - {State.CLOSED})
        self.assertEqual(set(after.values()), {State.CLOSED})

    def test_reuse(self) -> None:
        """A connection can be used again only after its response is complete."""
        to_idle = [(state, event) for state, event, then in TRANSITIONS if then is State.IDLE]
        self.assertEqual(to_idle, [(State.BODY, Event.END)])
