"""
Tests for `chatfiles.platform.channel.channels`: which connection a request gets, and how long a
parked one lives.
"""

from __future__ import annotations

from twisted.internet import error
from twisted.logger import LogLevel, capturedLogs, formatEvent

from chatfiles.platform.channel.channels import MOST_AGE, MOST_PARKED
from chatfiles.platform.channel.node import Node
from tests.contract.registry_case import FIRST, SECOND
from tests.platform.channel.channel_case import HEALTHY, NODE, OTHER_NODE, ChannelCase


class TakingTests(ChannelCase):
    """Connections that are idle here."""

    def test_newest(self) -> None:
        """The connection that responded last is taken first."""
        old, new = self.park(), self.park()
        self.assertIs(self.channels.take(FIRST), new.protocol)
        self.assertIs(self.channels.take(FIRST), old.protocol)
        self.assertIsNone(self.channels.take(FIRST))

    def test_own(self) -> None:
        """A workspace gets its own connections only."""
        self.park()
        self.assertIsNone(self.channels.take(SECOND))
        self.assertFalse(self.channels.has(SECOND))
        self.assertFalse(self.channels.has_connected(SECOND))
        self.assertTrue(self.channels.has(FIRST))

    def test_dead(self) -> None:
        """A connection that was lost is not taken."""
        old, new = self.park(), self.park()
        new.lose(error.ConnectionLost())
        self.assertIs(self.channels.take(FIRST), old.protocol)

    def test_unasked_bytes(self) -> None:
        """Bytes without a request close the connection."""
        wire = self.park()
        wire.send(HEALTHY)
        self.assertTrue(wire.aborted)
        self.turn()
        self.assertFalse(self.channels.has(FIRST))

    def test_recent(self) -> None:
        """A connection on which the workspace has just responded needs no check."""
        wire = self.park()
        self.is_of(self.connect(within=2.0), wire)
        self.assertEqual(wire.sent(), b"")

    def test_checked(self) -> None:
        """On any other, the workspace is asked first."""
        wire = self.park()
        self.advance(3)
        result = self.connect(within=2.0)
        self.assertNoResult(result)
        self.assertEqual(wire.sent(), b"GET /health HTTP/1.1\r\nHost: workspace.invalid\r\n\r\n")
        wire.send(HEALTHY)
        self.turn()
        self.is_of(result, wire)

    def test_next_one(self) -> None:
        """If there is no response for three seconds, the next one is asked."""
        second, first = self.park(), self.park()
        self.advance(3)
        result = self.connect(within=2.0)
        self.assertNotEqual(first.sent(), b"")
        self.advance(3.25)
        self.assertTrue(first.aborted)
        self.assertNotEqual(second.sent(), b"")
        second.send(HEALTHY)
        self.turn()
        self.is_of(result, second)

    def test_next_one_of_closing(self) -> None:
        """A response that says that the connection is closed means that the next one is asked."""
        second, first = self.park(), self.park()
        self.advance(3)
        result = self.connect(within=2.0)
        first.send(HEALTHY.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))
        self.turn()
        second.send(HEALTHY)
        self.turn()
        self.is_of(result, second)

    def test_next_one_of_retired(self) -> None:
        """So does a token that is revoked meanwhile."""
        second, first = self.park(), self.park()
        self.advance(3)
        result = self.connect(within=2.0)
        (channel,) = self.channels
        channel.retire([first.protocol])
        first.send(HEALTHY)
        self.turn()
        second.send(HEALTHY)
        self.turn()
        self.is_of(result, second)

    def test_cancelled_check(self) -> None:
        """A connection that was asked for a request that has ended is idle again."""
        wire = self.park()
        self.advance(3)
        result = self.connect(within=2.0)
        result.addErrback(lambda _: None)
        result.cancel()
        wire.send(HEALTHY)
        self.turn()
        self.assertIs(self.channels.take(FIRST), wire.protocol)


class WaitingTests(ChannelCase):
    """Requests for which nothing is idle."""

    def test_order(self) -> None:
        """Requests get connections in the order in which they came."""
        self.park()
        self.channels.take(FIRST)
        first, second = self.connect(), self.connect()
        self.assertNoResult(first)
        one = self.park()
        self.is_of(first, one)
        self.assertNoResult(second)
        two = self.park()
        self.is_of(second, two)

    def test_busy(self) -> None:
        """After the timeout of a connection, the workspace is busy."""
        self.park()
        self.channels.take(FIRST)
        result = self.connect()
        self.advance(4.75)
        self.assertNoResult(result)
        self.advance(0.5)
        self.assertEqual(self.fails(result, "workspace_busy").retry_after, 1)

    def test_cancelled(self) -> None:
        """A request that has ended gets no connection."""
        self.park()
        self.channels.take(FIRST)
        first, second = self.connect(), self.connect()
        first.addErrback(lambda _: None)
        first.cancel()
        self.is_of(second, self.park())

    def test_never_connected(self) -> None:
        """A workspace that is not connected anywhere is offline at once."""
        self.assertIsNone(self.fails(self.connect(), "workspace_offline").detail)

    def test_reconnects(self) -> None:
        """A workspace that was just connected is waited for."""
        wire = self.park()
        wire.lose(error.ConnectionLost())
        self.turn()
        self.assertEqual(
            (self.channels.has(FIRST), self.channels.has_connected(FIRST)), (False, True)
        )
        result = self.connect()
        self.advance(3)
        self.assertNoResult(result)
        self.is_of(result, self.park())

    def test_offline(self) -> None:
        """It is waited for no longer than a connection may take, since it was connected."""
        wire = self.park()
        wire.lose(error.ConnectionLost())
        self.turn()
        self.advance(3)
        result = self.connect()
        self.advance(2.5)
        detail = self.fails(result, "workspace_offline").detail
        self.assertEqual(detail, "last seen 2026-03-01T12:00:00Z")
        self.fails(self.connect(), "workspace_offline")


class LifeTests(ChannelCase):
    """The life of a parked connection."""

    def test_asked(self) -> None:
        """A silent connection is asked for life, again and again."""
        wire = self.park()
        self.advance(14)
        self.assertEqual(wire.sent(), b"")
        self.advance(1.5)
        for _ in range(3):
            self.assertTrue(wire.sent().startswith(b"GET /health "))
            wire.send(HEALTHY)
            self.advance(15.5)
        wire.send(HEALTHY)
        self.turn()
        self.assertIs(self.channels.take(FIRST), wire.protocol)

    def test_silent(self) -> None:
        """A connection without a response within ten seconds is closed."""
        wire = self.park()
        self.advance(16)
        self.advance(8)
        self.assertFalse(wire.aborted)
        self.advance(2)
        self.assertTrue(wire.aborted)
        self.assertFalse(self.channels.has(FIRST))

    def test_endless_body(self) -> None:
        """A response to the check that does not end closes the connection."""
        for length in (b"Content-Length: 9", b"Content-Length: 99999"):
            wire = self.park()
            self.advance(16)
            wire.send(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n\r\n")
            wire.send(b"x" * (8 if length.endswith(b" 9") else 20000))
            self.advance(11)
            self.assertTrue(wire.aborted, length)

    def test_old(self) -> None:
        """A connection of a day is closed when it is idle."""
        wire = self.park()
        self.reactor.advance(MOST_AGE + 1)
        self.turn()
        self.assertTrue(wire.disconnecting)
        self.assertEqual(wire.sent(), b"")

    def test_old_and_used(self) -> None:
        """One that is used all the time is closed after a response."""
        wire = self.park()
        for _ in range(int(MOST_AGE / 10)):
            taken = self.taken()
            self.channels.put(taken)
            self.assertFalse(wire.disconnecting)
            self.reactor.advance(10)
        self.reactor.advance(1)
        taken = self.taken()
        self.channels.put(taken)
        self.turn()
        self.assertTrue(wire.disconnecting)

    def test_room(self) -> None:
        """A workspace may park so many; those being asked count, and busy ones do not."""
        wires = [self.park() for _ in range(MOST_PARKED)]
        self.assertFalse(self.channels.has_room(FIRST))
        self.assertTrue(self.channels.has_room(SECOND))
        self.advance(16)
        self.assertNotEqual(wires[0].sent(), b"")
        self.assertFalse(self.channels.has_room(FIRST))
        wires[0].lose(error.ConnectionLost())
        self.assertTrue(self.channels.has_room(FIRST))

    def test_retired(self) -> None:
        """Retired connections are closed: idle ones now, busy ones after their response."""
        idle, busy = self.park(), self.park()
        taken = self.taken()
        (channel,) = self.channels
        channel.retire([idle.protocol, busy.protocol])
        self.turn()
        self.assertTrue(idle.disconnecting)
        self.assertFalse(busy.disconnecting)
        self.channels.put(taken)
        self.turn()
        self.assertTrue(busy.disconnecting)

    def test_drain(self) -> None:
        """A drain closes idle connections, and waits for the others."""
        idle, busy = self.park(), self.park()
        taken = self.taken()
        self.channels.drain()
        finished = self.channels.finished(30.0)
        self.turn()
        self.assertTrue(idle.disconnecting)
        self.assertNoResult(finished)
        self.channels.put(taken)
        self.turn()
        self.successResultOf(finished)
        self.assertTrue(busy.disconnecting)

    def test_late_for_a_drain(self) -> None:
        """A connection that was accepted just before a drain is closed, too."""
        self.channels.drain()
        finished = self.channels.finished(30.0)
        wire = self.park()
        self.assertTrue(wire.disconnecting)
        self.successResultOf(finished)
        self.assertEqual(self.channels.open, 0)

    def test_drain_in_vain(self) -> None:
        """A drain does not wait for ever."""
        self.park()
        self.channels.take(FIRST)
        self.channels.drain()
        finished = self.channels.finished(3.0)
        self.advance(3.5)
        self.successResultOf(finished)
        closing = self.channels.close()
        self.turn()
        self.successResultOf(closing)
        self.get(self.node.stop())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_sources(self) -> None:
        """Connections from two addresses are logged once."""
        with capturedLogs() as events:
            for source in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"):
                self.park(source=source)
        lines = [formatEvent(event) for event in events if event["log_level"] is LogLevel.warn]
        self.assertEqual(
            lines, [f"workspace {FIRST} connects from two sources: 192.0.2.1, 192.0.2.2"]
        )


class RecordTests(ChannelCase):
    """What the registry says."""

    def nodes(self) -> list[object]:
        """:return: the nodes to which the workspace is connected."""
        return [place.node_id for place in self.get(self.registry.channel_places(FIRST)).nodes]

    def test_recorded(self) -> None:
        """The first connection and the end of the last are recorded."""
        wires = [self.park(), self.park()]
        self.assertEqual(self.nodes(), [NODE])
        self.assertEqual(self.registry.asked.count("open_channel"), 1)
        for wire in wires:
            self.assertEqual(self.nodes(), [NODE])
            wire.lose(error.ConnectionLost())
            self.turn()
        self.assertEqual(self.nodes(), [])

    def test_outage(self) -> None:
        """What could not be recorded is recorded later."""
        self.registry.failing = True
        wire = self.park()
        self.registry.failing = False
        self.assertEqual(self.nodes(), [])
        self.advance(1.25)
        self.assertEqual(self.nodes(), [NODE])
        self.registry.failing = True
        wire.lose(error.ConnectionLost())
        self.turn()
        self.registry.failing = False
        self.advance(1.25)
        self.assertEqual(self.nodes(), [])

    def test_late_registry(self) -> None:
        """Nothing is recorded before the registry knows the node."""
        self.get(self.node.stop())
        self.registry.failing = True
        node = Node(self.cache, self.reactor, NODE, "http://a:1", self.relay)
        node.start()
        node.opened(FIRST)
        self.registry.failing = False
        before = len(self.registry.asked)
        self.advance(2)
        self.assertNotIn("open_channel", self.registry.asked[before:])
        self.advance(10)
        later = self.registry.asked[before:]
        self.assertLess(later.index("enter_node"), later.index("open_channel"))

    def test_alone(self) -> None:
        """A node without a URL warns if there is another node."""
        self.assertEqual(list(self.node.warnings), [])
        self.get(self.registry.touch_node(OTHER_NODE, None))
        self.advance(10.5)
        self.assertEqual(self.node.others, 1)
        self.assertEqual(list(self.node.warnings), [], "the others reach it")
        self.node.url = None
        self.assertEqual(len(self.node.warnings), 1)
