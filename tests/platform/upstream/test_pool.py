"""
Tests for `chatfiles.platform.upstream.pool`.
"""

from __future__ import annotations

from collections.abc import Hashable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.platform.upstream.pool import READ_SIZE, ConnectionPool, ReadBudget
from chatfiles.streams.transports import SMALL_READ


class TokenColumns:
    """A connection that remembers whether it was closed."""

    def __init__(self, key: Hashable = "a") -> None:
        self.key = key
        self.usable = True
        self.closed = False

    def disconnect(self) -> Deferred[None]:
        """Note it."""
        self.usable = False
        self.closed = True
        return succeed(None)


class IdleConnectionsTests(SynchronousTestCase):
    """Connections are kept for as long as they are likely to be alive, and no more than enough."""

    def setUp(self):
        """Room for three of a key and five in all, for twenty seconds."""
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
        """The connection that was used last is the one that is least likely to be dead."""
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
        """One that is closing but not yet closed is passed over."""
        first, second = self.put("a", "a")
        second.usable = False
        self.assertIs(self.idle.take("a"), first)
        self.assertTrue(second.closed)

    def test_too_old(self):
        """One that the other end may be about to close is not handed out."""
        (first,) = self.put("a")
        self.clock.advance(18.9)
        self.assertIs(self.idle.take("a"), first)
        self.idle.put(first)
        self.clock.rightNow += 20
        self.assertIsNone(self.idle.take("a"))
        self.assertTrue(first.closed)

    def test_swept(self):
        """What nobody asks for is closed, and nothing is left that would wake us."""
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
        """One workspace cannot have us keep any number of connections."""
        connections = self.put(*"aaaa")
        self.assertEqual([kept.closed for kept in connections], [True, False, False, False])

    def test_limit_in_all(self):
        """Many workspaces cannot use up our descriptors."""
        connections = self.put(*"abcdef")
        self.assertEqual([kept.closed for kept in connections], [True] + [False] * 5)
        self.assertIsNone(self.idle.take("a"))
        self.assertIs(self.idle.take("b"), connections[1])

    def test_close(self):
        """At the end all are closed, and a late one is not kept."""
        first, second = self.put("a", "b")
        self.successResultOf(self.idle.close())
        late = TokenColumns()
        self.idle.put(late)
        self.assertEqual([first.closed, second.closed, late.closed], [True] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(self.idle.close())


class ReadSizesTests(SynchronousTestCase):
    """A few large bodies are read in large pieces, many in small ones."""

    def test_sizes(self):
        """What all reads hold together is bounded, as long as no read need be tiny for that."""
        sizes = ReadBudget()
        seen = [sizes.size]
        for _ in range(1000):
            sizes.change(1)
            seen.append(sizes.size)
        self.assertEqual(seen[:17], [READ_SIZE] * 17)
        self.assertEqual(seen[64], READ_SIZE // 4)
        self.assertEqual(seen[1000], SMALL_READ)
        for _ in range(1000):
            sizes.change(-1)
        self.assertEqual(sizes.size, READ_SIZE)
