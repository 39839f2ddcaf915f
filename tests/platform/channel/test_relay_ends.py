"""
Tests for `chatfiles.platform.channel.relay_ends`: how the two ends of a relay end each other.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

from twisted.internet import error, reactor
from twisted.internet.protocol import Factory
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from chatfiles.platform.channel.relay_ends import RelayEnd, relay
from chatfiles.streams.bulk_splice import BulkMover
from chatfiles.streams.memory_budget import PIECE, MemoryBudget
from tests.contract.registry_case import FIRST
from tests.platform.channel.channel_case import ChannelCase
from tests.platform.upstream.upstream_case import Wire
from tests.support.certificates import root_authority
from tests.support.loopback import until
from tests.support.patience import PATIENCE


class RelayEndTests(ChannelCase):
    """A node whose connection is relayed to an idle one of a workspace."""

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


class SecureEndTests(TestCase):
    """A node that is connected with TLS; the workspace is in memory."""

    def setUp(self) -> None:
        self.near = RelayEnd(MemoryBudget(), BulkMover())
        issued = root_authority().issue("127.0.0.1")
        tls = PrivateCertificate.loadPEM(issued.key + issued.pem).options()
        factory = Factory.forProtocol(lambda: self.near)
        network: Any = reactor
        port = network.listenSSL(0, factory, tls, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port

    def connect(self) -> ssl.SSLSocket:
        """:return: the connection of the other node."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        return context.wrap_socket(plain)

    async def linked(self) -> tuple[ssl.SSLSocket, Wire]:
        """:return: the connection of the other node, and that of the workspace."""
        node = await deferToThread(self.connect)
        self.addCleanup(node.close)
        await until(reactor, lambda: self.near.transport is not None)
        far = RelayEnd(MemoryBudget(), BulkMover())
        wire = Wire(Clock(), far)  # type: ignore[arg-type]
        self.near.link(far)
        far.link(self.near)
        await deferToThread(node.sendall, b"GET")
        await until(reactor, wire.sent)
        return node, wire

    async def test_workspace_closes(self) -> None:
        """The node gets what was sent before; it need not confirm the end."""
        for size in (2, 8 << 20):
            node, far = await self.linked()
            wire: Any = self.near.transport
            self.near = RelayEnd(MemoryBudget(), BulkMover())
            far.send(b"x" * size)
            far.lose(error.ConnectionDone())
            received = await deferToThread(read_all, node)
            self.assertEqual(received, size)
            await until(reactor, lambda wire=wire: not wire.connected)  # type: ignore[misc]


def read_all(node: ssl.SSLSocket) -> int:
    """:return: how many bytes arrive before the end."""
    return sum(map(len, iter(lambda: node.recv(1 << 16), b"")))
