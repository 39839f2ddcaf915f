"""
Tests for `chatfiles.platform.channel.relays`: what another node may respond.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from zope.interface import directlyProvides

from chatfiles.errors import ChatfilesError
from chatfiles.platform.channel.relays import Relays
from chatfiles.platform.upstream.connection import WorkspaceConnection
from chatfiles.runtime.tls.peers import PeerVerification
from tests.contract.registry_case import FIRST, SECRET, UNKNOWN
from tests.platform.channel.channel_case import ChannelCase
from tests.platform.upstream.upstream_case import Wire

URL = "unix:/run/node.sock"
ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: ptth-relay\r\n\r\n"


def refusal(status: str, code: str) -> bytes:
    """:return: a response that refuses."""
    body = b'{"error":"x","code":"%b"}\n' % code.encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class SilentResolver:
    """Never finds an address."""

    def resolveHostName(self, receiver: Any, *_: object, **__: object) -> Any:
        """Look up a name."""
        return receiver


class RelayTests(ChannelCase):
    """A request for a connection to another node."""

    def setUp(self) -> None:
        super().setUp()
        self.network = MemoryReactorClock()
        self.relays = Relays(self.network, self.cache, 5.0, PeerVerification())

    def ask(self, *pieces: bytes) -> tuple[Wire, Deferred[WorkspaceConnection]]:
        """:return: the transport, and the result after the node has sent *pieces*."""
        result = Deferred.fromCoroutine(self.relays.connect(URL, FIRST))
        factory = self.network.unixClients[-1][1]
        wire = Wire(self.network, factory.buildProtocol(IPv4Address("TCP", "192.0.2.9", 1)))
        for piece in pieces:
            wire.protocol.dataReceived(piece)
        return wire, result

    def test_request(self) -> None:
        """The request presents the secret of the workspace."""
        wire, result = self.ask()
        self.assertEqual(
            wire.sent(),
            b"GET /internal/channel/%b HTTP/1.1\r\nHost: node.invalid\r\n"
            b"Authorization: Bearer %b\r\nConnection: upgrade\r\nUpgrade: ptth-relay\r\n"
            b"Chatfiles-Hops: 1\r\n\r\n" % (str(FIRST).encode(), SECRET.encode()),
        )
        result.addErrback(lambda failure: failure.trap(CancelledError))
        result.cancel()
        self.assertTrue(wire.aborted)

    def test_accepted(self) -> None:
        """After 101 there is a connection."""
        _, result = self.ask(ACCEPTED[:40], ACCEPTED[40:])
        connection = self.successResultOf(result)
        self.assertEqual((connection.via, connection.usable), ("relay", True))
        self.assertEqual(self.relays.counts(), (0, 1))

    def test_busy(self) -> None:
        """A workspace that is busy there is busy."""
        _, result = self.ask(refusal("503 Service Unavailable", "workspace_busy"))
        self.assertEqual(self.failed(result), "workspace_busy")

    def test_refused(self) -> None:
        """Anything else is no connection, and the transport is closed."""
        for response in (
            refusal("503 Service Unavailable", "workspace_offline"),
            refusal("503 Service Unavailable", "x").replace(b'"code":"x"', b'"cod'),
            refusal("401 Unauthorized", "unauthorized"),
            refusal("426 Upgrade Required", "upgrade_required"),
            ACCEPTED + b"x",
            ACCEPTED.replace(b"ptth-relay", b"websocket"),
            ACCEPTED.replace(b"HTTP/1.1", b"HTTP/1.0"),
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 101 x\r\nnot a header\r\n\r\n",
            b"x" * 20_000,
        ):
            wire, result = self.ask(response)
            self.assertEqual(self.failed(result), "workspace_unreachable", response[:40])
            self.assertTrue(wire.aborted, response[:40])

    def test_lost(self) -> None:
        """A node that closes the connection has none."""
        wire, result = self.ask(ACCEPTED[:20])
        wire.lose(Refused())
        self.assertEqual(self.failed(result), "workspace_unreachable")

    def test_no_connection(self) -> None:
        """A node that does not accept connections has none."""
        result = Deferred.fromCoroutine(self.relays.connect(URL, FIRST))
        factory = self.network.unixClients[-1][1]
        factory.clientConnectionFailed(None, Failure(Refused()))
        self.assertEqual(self.failed(result), "workspace_unreachable")

    def test_secure(self) -> None:
        """A node with ``https`` gets nothing before its certificate was verified."""
        result = Deferred.fromCoroutine(self.relays.connect("https://192.0.2.9:81", FIRST))
        self.network.advance(0)
        factory = self.network.tcpClients[-1][2]
        wire = StringTransport()
        protocol: Any = factory.buildProtocol(IPv4Address("TCP", "192.0.2.9", 1))
        protocol.makeConnection(wire)
        self.assertTrue(wire.value().startswith(b"\x16\x03"))  # the handshake
        self.assertNotIn(SECRET.encode(), wire.value())
        protocol.connectionLost(Failure(Refused()))
        self.assertEqual(self.failed(result), "workspace_unreachable")

    def test_cancelled(self) -> None:
        """A request that is cancelled while it connects asks no other node."""
        result = Deferred.fromCoroutine(self.relays.connect(URL, FIRST))
        result.cancel()
        self.failureResultOf(result, CancelledError)

    def test_cancelled_lookup(self) -> None:
        """One that is cancelled while a name is looked up says nothing about the other node."""
        directlyProvides(self.network, IReactorPluggableNameResolver)
        resolver: Any = SilentResolver()
        self.network.nameResolver = resolver
        result = Deferred.fromCoroutine(self.relays.connect("http://node-2:81", FIRST))
        with capturedLogs() as events:
            result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(list(events), [])

    def test_problems(self) -> None:
        """The log says once why a node is not reached, in plain words."""
        with capturedLogs() as events:
            for _ in range(2):
                self.test_no_connection()
        (event,) = events
        self.assertEqual(formatEvent(event), f"no relay through {URL}: the connection was refused")

    def test_no_secret(self) -> None:
        """Without a secret no node is asked."""
        result = Deferred.fromCoroutine(self.relays.connect(URL, UNKNOWN))
        self.assertEqual(self.failed(result), "workspace_unreachable")
        self.assertEqual(self.network.unixClients, [])

    def failed(self, result: Any) -> str:
        """:return: the code of the error."""
        error = self.failureResultOf(result, ChatfilesError).value
        assert isinstance(error, ChatfilesError)
        return error.code
