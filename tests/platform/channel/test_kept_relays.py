"""
Tests for `chatfiles.platform.channel.relays`: how long connections through other nodes are kept,
and which requests use them.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred

from chatfiles.platform.channel.channels import Channels
from chatfiles.platform.channel.connection_search import Search
from chatfiles.platform.channel.relays import (
    MOMENT,
    MOST_AGE,
    MOST_KEPT,
    QUIET,
    RelayedConnection,
    Relays,
)
from chatfiles.platform.upstream.connection import WorkspaceConnection
from chatfiles.runtime.tls.peers import PeerVerification
from chatfiles.streams.memory_budget import MemoryBudget
from tests.contract.registry_case import FIRST, SECOND
from tests.platform.channel.channel_case import CONNECT_TIMEOUT, OTHER_NODE, ChannelCase
from tests.platform.upstream.upstream_case import Wire

#: Seconds within which the workspace must have responded, for an upload.
JUST_NOW = 2.0


class KeptTests(ChannelCase):
    """The workspace is connected to another node."""

    def setUp(self) -> None:
        super().setUp()
        self.relays = Relays(self.reactor, self.cache, CONNECT_TIMEOUT, PeerVerification())
        self.relays.start()
        search = partial(Search, self.cache, self.node, self.reactor, CONNECT_TIMEOUT)
        self.channels = Channels(
            self.reactor,
            lambda low, _high: low,
            CONNECT_TIMEOUT,
            partial(self.relays.search, search),
            self.relays.retire,
            kept=self.relays.take,
        )
        self.get(self.registry.enter_node(OTHER_NODE, "http://b:1"))
        self.get(self.registry.open_channel(FIRST, OTHER_NODE))
        self.cancelled = 0
        self.turn()

    def relay(self, url: str, _workspace_id: UUID) -> Deferred[WorkspaceConnection]:
        """Record that another node is asked, and that this is given up."""

        def cancel(_: object) -> None:
            self.cancelled += 1

        result: Deferred[WorkspaceConnection] = Deferred(cancel)
        self.relayed.append((url, result))
        return result

    def made(self, workspace_id: UUID = FIRST) -> Wire:
        """:return: the transport of a connection through the other node."""
        now = self.reactor.seconds()
        connection = RelayedConnection(self.relays, MemoryBudget(), workspace_id, now)
        return Wire(self.reactor, connection)

    def kept(self) -> Wire:
        """:return: the same, after one response."""
        wire = self.made()
        self.responded(wire)
        return wire

    def responded(self, wire: Wire) -> None:
        """A response is complete."""
        self.relays.put(wire.protocol)
        self.turn()

    def found(self, result: Deferred[WorkspaceConnection], wire: Wire) -> None:
        """The result is the connection of *wire*."""
        self.assertIs(self.successResultOf(result), wire.protocol)

    def test_taken(self) -> None:
        """The next request takes the one that responded last, and no node is asked."""
        first, second = self.kept(), self.kept()
        self.assertEqual(self.relays.counts(), (2, 2))
        self.assertIs(self.channels.take(FIRST), second.protocol)
        self.assertIs(self.channels.take(FIRST), first.protocol)
        self.assertIsNone(self.channels.take(FIRST))
        self.assertIsNone(self.channels.take(SECOND))
        self.assertEqual(self.relayed, [])

    def test_upload(self) -> None:
        """An upload takes one: the workspace has just responded on it."""
        wire = self.kept()
        self.advance(QUIET - 0.25)
        self.found(self.connect(within=JUST_NOW), wire)
        self.assertEqual(self.relayed, [])

    def test_quiet(self) -> None:
        """After a short while it is not used any more, and closed soon."""
        wire = self.kept()
        self.reactor.rightNow += QUIET  # no timer has run
        self.assertIsNone(self.channels.take(FIRST))
        self.assertTrue(wire.disconnecting)
        self.turn()
        wire = self.kept()
        self.advance(QUIET + 1.0)
        self.assertTrue(wire.disconnecting)
        self.assertEqual(self.relays.counts(), (0, 0))

    def test_quiet_for_upload(self) -> None:
        """An upload does not take one that has been quiet, but asks for a new one."""
        wire = self.kept()
        self.reactor.rightNow += QUIET + 0.1  # the timer is late
        result = self.channels.connect(FIRST, JUST_NOW)
        self.assertNoResult(result)
        self.assertTrue(wire.disconnecting)
        self.reactor.advance(MOMENT)
        self.turn()
        ((url, asked),) = self.relayed
        self.assertEqual(url, "http://b:1")
        new = self.made()
        asked.callback(new.protocol)
        self.found(result, new)

    def test_old(self) -> None:
        """One that is used all the time is closed, too: the other node may need it."""
        wire = self.made()
        for _ in range(int(MOST_AGE)):
            self.responded(wire)
            self.assertFalse(wire.disconnecting)
            self.assertIs(self.channels.take(FIRST), wire.protocol)
            self.advance(1)
        self.responded(wire)
        self.assertTrue(wire.disconnecting)

    def test_old_and_idle(self) -> None:
        """One that was used until now is closed when it is old, also if it could be used again."""
        wire = self.made()
        self.advance(MOST_AGE - 0.25)
        self.responded(wire)
        self.reactor.rightNow += 0.25  # no timer has run
        self.assertIsNone(self.channels.take(FIRST))
        self.assertTrue(wire.disconnecting)
        self.turn()
        wire = self.made()
        self.advance(MOST_AGE - 0.25)
        self.responded(wire)
        self.advance(0.5)
        self.assertTrue(wire.disconnecting)

    def test_short_wait(self) -> None:
        """The clients of the other node wait for longer than a connection is kept here."""
        self.relays = Relays(self.reactor, self.cache, 1.0, PeerVerification())
        wire = self.kept()
        self.advance(0.5)
        self.assertFalse(wire.disconnecting)
        self.advance(0.25)
        self.assertTrue(wire.disconnecting)

    def test_most(self) -> None:
        """So many are kept; others are closed after their response."""
        wires = [self.made() for _ in range(MOST_KEPT + 1)]
        for wire in wires:
            self.responded(wire)
        self.assertEqual([w.disconnecting for w in wires], [False] * MOST_KEPT + [True])

    def test_waiting(self) -> None:
        """A request that waits gets the next idle one, before any new request."""
        wire = self.made()
        waiting = self.connect()
        self.assertEqual(self.relayed, [])
        self.relays.put(wire.protocol)
        self.assertIsNone(self.channels.take(FIRST))
        self.turn()
        self.found(waiting, wire)

    def test_waiting_for_long(self) -> None:
        """After a moment it asks for a new one, and takes what comes first."""
        for comes_first in ("idle", "new"):
            wire, waiting = self.made(), self.connect()
            self.reactor.advance(MOMENT)
            self.turn()
            _, asked = self.relayed.pop()
            if comes_first == "idle":
                self.responded(wire)
                self.assertEqual(self.cancelled, 1)
                self.found(waiting, wire)
            else:
                new = self.made()
                asked.callback(new.protocol)
                self.found(waiting, new)

    def test_few_searches(self) -> None:
        """While there are some, few requests ask at a time; each end is the turn of another."""
        self.made()
        waiting = [self.connect() for _ in range(6)]
        self.reactor.advance(MOMENT)
        self.turn()
        self.assertEqual(len(self.relayed), 4)
        waiting[0].addErrback(lambda failure: failure.trap(CancelledError))
        waiting[0].cancel()
        self.assertEqual(len(self.relayed), 5)
        new = self.made()
        self.relayed[1][1].callback(new.protocol)
        self.found(waiting[1], new)
        self.assertEqual(len(self.relayed), 6)

    def test_many_searches(self) -> None:
        """Without any, all ask."""
        for _ in range(6):
            self.connect()
        self.assertEqual(len(self.relayed), 6)

    def test_late(self) -> None:
        """A request that found no connection in time fails as busy, also if it never asked."""
        self.made()
        waiting = [self.connect() for _ in range(5)]
        self.advance(CONNECT_TIMEOUT + 0.25)
        for each in waiting:
            self.fails(each, "workspace_busy")

    def test_dead(self) -> None:
        """If the other node closes one, the others are not used for the second attempt."""
        first, second = self.kept(), self.kept()
        busy = self.made()
        second.lose(error.ConnectionLost())
        self.turn()
        self.assertTrue(first.disconnecting)
        self.assertIsNone(self.channels.take(FIRST))
        self.responded(busy)
        self.assertTrue(busy.disconnecting)

    def test_changed(self) -> None:
        """A change of the workspace closes idle ones at once, and busy ones after the response."""
        other = self.made(SECOND)
        for for_all in (False, True):
            idle, busy = self.kept(), self.made()
            if for_all:
                self.registry.failing = True
            else:
                self.registry.set_status(FIRST, "suspended")
            self.turn()
            self.assertEqual((idle.disconnecting, busy.disconnecting), (True, False))
            self.responded(busy)
            self.assertTrue(busy.disconnecting)
            self.assertEqual(other.protocol.retired, for_all)

    def test_connected_here(self) -> None:
        """A workspace that connects to this node is not reached through others any more."""
        idle = self.kept()
        here = self.park()
        self.assertTrue(idle.disconnecting)
        self.assertIs(self.channels.take(FIRST), here.protocol)

    def test_drained(self) -> None:
        """A node that drains keeps none."""
        idle = self.kept()
        self.relays.drain()
        self.turn()
        self.assertTrue(idle.disconnecting)
        wire = self.made()
        self.responded(wire)
        self.assertTrue(wire.disconnecting)

    def test_stopped(self) -> None:
        """No timer is left, and no subscription."""
        self.kept()
        self.connect()
        self.relays.drain()
        self.relays.stop()
        self.assertEqual(self.timers(), [])

    def test_forgotten(self) -> None:
        """Nothing is left of a workspace after a while."""
        self.kept()
        self.advance(QUIET + 2.0)
        self.assertEqual(self.timers(), [])

    def timers(self) -> list[str]:
        """:return: the timers of the relays."""
        calls: Any = self.reactor.getDelayedCalls()
        return [str(call.func) for call in calls if "Relays" in str(call.func)]
