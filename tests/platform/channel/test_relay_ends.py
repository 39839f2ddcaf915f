"""
Tests for `chatfiles.platform.channel.relay_ends`: how the two ends of a relay end each other.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import error

from chatfiles.platform.channel import relay_ends
from chatfiles.platform.channel.relay_ends import RelayEnd, relay
from chatfiles.streams.bulk import BulkMover
from chatfiles.streams.memory_budget import PIECE, MemoryBudget
from tests.contract.registry_case import FIRST
from tests.platform.channel.channel_case import ChannelCase
from tests.platform.upstream.upstream_case import Wire


class RelayEndTests(ChannelCase):
    """
    A node whose connection is relayed to an idle one of a workspace.

    :ivar secure: the transports that are over TLS.
    """

    def setUp(self) -> None:
        super().setUp()
        self.secure: list[Wire] = []
        self.patch(relay_ends, "is_plain", lambda wire: wire not in self.secure)

    def make_relay(self) -> tuple[Wire, Wire]:
        """:return: the connection of the other node, and that of the workspace."""
        far = self.park()
        connection = self.taken()
        budget, mover = MemoryBudget(), BulkMover()
        end = RelayEnd(budget, mover)
        near = Wire(self.reactor, end)
        relay(end, RelayEnd(budget, mover), connection)
        return near, far

    def check_ended(self) -> None:
        """Nothing is left of the relay."""
        self.turn()
        self.assertEqual(self.channels.open, 0)
        self.assertFalse(self.channels.has(FIRST))

    def test_bytes(self) -> None:
        """Bytes go both ways as they are."""
        near, far = self.make_relay()
        near.send(b"GET")
        far.send(b"HTTP")
        self.assertEqual((near.sent(), far.sent()), (b"HTTP", b"GET"))

    def test_large(self) -> None:
        """A large body goes through in larger pieces, and is not read while the peer is slow."""
        near, far = self.make_relay()
        far.send(b"x" * 64 * 1024)
        self.assertEqual(far.bufferSize, PIECE)
        self.assertEqual(len(near.sent()), 64 * 1024)
        producer: Any = near.producer
        producer.pauseProducing()
        self.assertEqual(far.producerState, "paused")

    def test_after_the_end(self) -> None:
        """What arrives at an end that is closing is not passed on."""
        near, far = self.make_relay()
        near.lose(error.ConnectionDone())
        far.protocol.dataReceived(b"HTTP")
        self.assertEqual(near.sent(), b"")

    def test_node_closes(self) -> None:
        """The connection of the workspace is closed, too."""
        near, far = self.make_relay()
        near.lose(error.ConnectionDone())
        self.assertEqual((far.disconnecting, far.aborted), (True, False))
        self.check_ended()

    def test_node_closes_before_tls(self) -> None:
        """Over TLS, a workspace might never confirm the end, so it is not waited for."""
        near, far = self.make_relay()
        self.secure.append(far)
        near.lose(error.ConnectionDone())
        self.assertTrue(far.aborted)
        self.check_ended()

    def test_workspace_closes(self) -> None:
        """The node gets what was sent before."""
        near, far = self.make_relay()
        far.lose(error.ConnectionDone())
        self.assertEqual((near.disconnecting, near.aborted), (True, False))
        self.check_ended()

    def test_workspace_fails(self) -> None:
        """A response that was interrupted is interrupted for the node, too."""
        near, far = self.make_relay()
        far.lose(error.ConnectionLost())
        self.assertTrue(near.aborted)
        self.check_ended()
