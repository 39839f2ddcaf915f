"""
Tests for `chatfiles.platform.upstream.pool`.
"""

from __future__ import annotations

from collections.abc import Hashable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.platform.upstream.pool import ConnectionPool


class TokenColumns:
    """A connection that records whether it was closed."""

    def __init__(self, key: Hashable = "a") -> None:
        self.key = key
        self.usable = True
        self.closed = False

    def disconnect(self) -> Deferred[None]:
        """Record it."""
        self.usable = False
        self.closed = True
        return succeed(None)


class IdleConnectionsTests(SynchronousTestCase):
    """
    Idle connections, which are kept for as long as they are likely to be alive, up to a limit.
    """

    def setUp(self):
        """At most three of a key and five in all, for twenty seconds."""
        self.clock = Clock()
        self.idle: ConnectionPool[TokenColumns] = ConnectionPool(
            self.clock, timeout=20.0, per_key=3, in_all=5
        )

    def put(self, *keys: str) -> list[TokenColumns]:
        """:return: connections that have been put, a second apart."""
        connections = []
        for key in keys:
            connections.append(TokenColumns(key))
            self.idle.put(connections[-1])
            self.clock.advance(1)
        return connections

    def test_newest_first(self):
        """The connection that was used last is taken first, as it is least likely to be dead."""
        first, second, other = self.put("a", "a", "b")
        self.assertIs(self.idle.take("a"), second)
        self.assertIs(self.idle.take("a"), first)
        self.assertIsNone(self.idle.take("a"))
        self.assertIs(self.idle.take("b"), other)

    def test_dropped(self):
        """A connection that has been closed meanwhile is not handed out."""
        first, second = self.put("a", "a")
        self.idle.drop(second)
        self.idle.drop(second)
        self.assertIs(self.idle.take("a"), first)
        self.idle.drop(first)

    def test_unusable(self):
        """A connection that is closing but not yet closed is skipped."""
        first, second = self.put("a", "a")
        second.usable = False
        self.assertIs(self.idle.take("a"), first)
        self.assertTrue(second.closed)

    def test_too_old(self):
        """A connection that the other end may be about to close is not handed out."""
        (first,) = self.put("a")
        self.clock.advance(18.9)
        self.assertIs(self.idle.take("a"), first)
        self.idle.put(first)
        self.clock.rightNow += 20
        self.assertIsNone(self.idle.take("a"))
        self.assertTrue(first.closed)

    def test_swept(self):
        """A connection that is not used again is closed, and no timer is left."""
        first, second = self.put("a", "b")
        self.clock.pump([1.0] * 16)
        self.assertFalse(first.closed)
        self.clock.pump([1.0] * 12)
        self.assertTrue(first.closed)
        self.assertTrue(second.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        (third,) = self.put("a")
        self.assertIs(self.idle.take("a"), third)

    def test_limit_of_a_key(self):
        """The number of connections kept for one workspace is limited."""
        connections = self.put(*"aaaa")
        self.assertEqual([kept.closed for kept in connections], [True, False, False, False])

    def test_limit_in_all(self):
        """
        The number of all kept connections is limited, which bounds the file descriptors in use.
        """
        connections = self.put(*"abcdef")
        self.assertEqual([kept.closed for kept in connections], [True] + [False] * 5)
        self.assertIsNone(self.idle.take("a"))
        self.assertIs(self.idle.take("b"), connections[1])

    def test_close(self):
        """Closing the pool closes all connections; one that is put later is not kept."""
        first, second = self.put("a", "b")
        self.successResultOf(self.idle.close())
        late = TokenColumns()
        self.idle.put(late)
        self.assertEqual([first.closed, second.closed, late.closed], [True] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(self.idle.close())
