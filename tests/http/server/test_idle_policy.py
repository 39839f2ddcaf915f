"""
Connections whose policy differs from that of a client's connection.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.http.server.idle_policy import IdlePolicy
from tests.support.memory_client import HEADER_TIMEOUT, Caller, Echo, Held, get, tree


class Recorder(IdlePolicy):
    """
    :ivar seen: what happened.
    """

    first_is_due = False

    def __init__(self) -> None:
        super().__init__(50.0)
        self.seen: list[bytes | str] = []
        self.keeps = True
        self.begins: Callable[[], None] = lambda: None

    def request_begins(self, target: bytes) -> bool:
        self.begins()
        self.seen.append(target)
        return self.keeps

    def request_awaited(self) -> float:
        if not self.seen or self.seen[-1] != "awaited":
            self.seen.append("awaited")
        return super().request_awaited()

    def connection_lost(self) -> None:
        self.seen.append("lost")


class PolicyTests(SynchronousTestCase):
    """A policy is asked at the right moments, and obeyed."""

    def setUp(self) -> None:
        self.policy = Recorder()
        self.held = Held()
        self.caller = Caller(tree(echo=Echo(), held=self.held), policy=self.policy)

    def test_silence(self) -> None:
        """The connection is closed after as many seconds as the policy says, not before."""
        for _ in range(2):
            self.caller.advance(49)
            self.assertFalse(self.caller.lost)
            self.caller.send(get(b"/echo"))
        self.caller.advance(49)
        self.assertFalse(self.caller.lost)
        self.caller.advance(1)
        self.caller.advance(0)
        self.assertTrue(self.caller.lost)
        self.assertEqual(
            self.policy.seen, ["awaited", b"/echo", "awaited", b"/echo", "awaited", "lost"]
        )

    def test_headers(self) -> None:
        """Headers that have begun are due as on any connection."""
        self.caller.advance(45)
        self.caller.send(b"GET /ec")
        self.caller.advance(HEADER_TIMEOUT)
        self.caller.advance(0)
        self.assertEqual(self.caller.answer().status, 408)

    def test_while_a_request_is_served(self) -> None:
        """The policy hears of the next wait when the response is complete."""
        self.caller.send(get(b"/held?x"))
        self.assertEqual(self.policy.seen, ["awaited", b"/held?x"])
        self.caller.advance(100)
        self.held.answer()
        self.assertEqual(self.policy.seen, ["awaited", b"/held?x", "awaited"])

    def test_before_it_is_served(self) -> None:
        """The policy hears of a request before its handler does."""
        counts: list[int] = []
        self.policy.begins = lambda: counts.append(len(self.held.requests))
        self.caller.send(get(b"/held"))
        self.assertEqual((counts, len(self.held.requests)), ([0], 1))

    def test_the_last_request(self) -> None:
        """A connection that is not to be kept says so in its next response, and is closed."""
        self.caller.send(get(b"/echo"))
        self.policy.keeps = False
        self.caller.send(get(b"/echo"))
        first, second = self.caller.answers()
        self.assertNotIn("connection", first.fields)
        self.assertEqual((second.status, second.fields["connection"]), (200, "close"))
        self.assertTrue(self.caller.lost)

    def test_usual(self) -> None:
        """A client's connection is closed if its first request is late."""
        caller = Caller(Echo(), policy=IdlePolicy(50.0))
        caller.advance(HEADER_TIMEOUT)
        caller.advance(0)
        self.assertTrue(caller.lost)
