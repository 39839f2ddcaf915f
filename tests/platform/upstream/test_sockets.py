"""
The agent over real sockets, with TLS, and under treq.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.ssl import Certificate, PrivateCertificate
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import BrowserLikePolicyForHTTPS

from chatfiles.errors import UpstreamFailed
from chatfiles.platform.upstream.agent import UpstreamAgent
from chatfiles.platform.upstream.dialer import Dialer
from chatfiles.rules.address_policy import AddressPolicy, parse_networks
from chatfiles.runtime.name_lookup import NameLookup
from chatfiles.streams.memory_budget import PIECE
from chatfiles.streams.transports import SMALL_READ
from tests.platform.upstream.test_dialer import make_certificate
from tests.platform.upstream.upstream_case import (
    FILLED,
    INJECTED,
    OK,
    Collector,
)


class Served(Protocol):
    """Responds to each request with what the test has prepared, in turn."""

    transport: Any
    factory: Any

    def connectionMade(self) -> None:
        """Record it."""
        self.factory.connections.append(self)
        self.buffer = b""

    def dataReceived(self, data: bytes) -> None:
        """Respond to each request that is complete."""
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            request, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            self.factory.requests.append(request)
            answer, then = self.factory.script.pop(0)
            self.transport.write(answer)
            if then == "close":
                self.transport.loseConnection()
            elif then == "reset":
                self.transport.abortConnection()


class ServingFactory(ServerFactory):
    """Follows a script of responses and of what is done after each: keep, close or reset."""

    noisy = False
    protocol = Served

    def __init__(self, script: list[tuple[bytes, str]]) -> None:
        self.script = script
        self.connections: list[Served] = []
        self.requests: list[bytes] = []


class SocketTests(TestCase):
    """The agent over real sockets, where the timing of reads, closes and resets varies."""

    async def serve(self, *script: tuple[bytes, str]) -> bytes:
        """:return: the URL of a server that follows *script*."""
        self.server = ServingFactory(list(script))
        port: Any = reactor.listenTCP(0, self.server, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        policy = AddressPolicy(parse_networks(["127.0.0.0/8"]))
        lookups = NameLookup(lambda _lookup, host: self.fail(f"looked up {host}"), clock=Clock())
        self.agent = UpstreamAgent(Dialer(reactor, policy, lookups))
        self.addCleanup(self.agent.close)
        return b"http://127.0.0.1:%d/x" % port.getHost().port

    async def get(self, url: bytes) -> Collector:
        """:return: the collector of the body of a GET."""
        response = await self.agent.request(b"GET", url)
        collector = Collector()
        done: Deferred[None] = Deferred()
        taken = collector.connectionLost

        def lost(reason: Failure) -> None:
            taken(reason)
            done.callback(None)

        collector.connectionLost = lost  # type: ignore[method-assign, assignment]
        response.deliverBody(collector)
        await done
        return collector

    async def test_reuse(self):
        """Consecutive requests share one connection; concurrent ones have their own."""
        url = await self.serve(*[(FILLED, "keep")] * 8)
        for _ in range(4):
            self.assertEqual((await self.get(url)).outcome, "OK:3")
        self.assertEqual(len(self.server.connections), 1)
        await gatherResults([Deferred.fromCoroutine(self.get(url)) for _ in range(4)])
        self.assertEqual(len(self.server.connections), 4)

    async def test_closed_by_the_server(self):
        """A server that closes or resets its connections costs new connections, but no errors."""
        url = await self.serve(
            *[(FILLED, "close"), (FILLED, "keep"), (b"", "reset")] * 3, (FILLED, "keep")
        )
        for _ in range(7):
            self.assertEqual((await self.get(url)).outcome, "OK:3")
        self.assertEqual(len(self.server.requests), 10)

    async def test_large(self):
        """A large body arrives complete, in large reads, and the connection is kept."""
        size = 32 * PIECE
        answer = OK + b"Content-Length: %d\r\n\r\n" % size + b"x" * size
        url = await self.serve((answer, "keep"), (FILLED, "keep"))
        collector = await self.get(url)
        self.assertEqual(collector.outcome, f"OK:{size}")
        self.assertGreater(max(map(len, collector.pieces)), SMALL_READ)
        self.assertEqual((await self.get(url)).outcome, "OK:3")
        self.assertEqual(len(self.server.connections), 1)

    async def test_cut(self):
        """A response that the server closes before its end is reported as aborted."""
        cut = OK + b"Content-Length: 1000\r\n\r\nabc"
        url = await self.serve((cut, "close"))
        self.assertEqual((await self.get(url)).outcome, "ABORT")

    async def test_refused(self):
        """A port on which nothing listens is unreachable."""
        await self.serve()
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = b"http://127.0.0.1:%d/x" % unused.getsockname()[1]
            refused: Any = await self.assertFailure(self.agent.request(b"GET", url), UpstreamFailed)
        self.assertIn("refused", refused.detail)

    async def test_tls(self):
        """
        With TLS, too, connections are reused, bodies arrive complete, and interrupted ones are
        detected.
        """
        authority, key = make_certificate(None, None)
        certificate, own_key = make_certificate(authority, key, x509.DNSName("ws.test"))
        pem = certificate.public_bytes(Encoding.PEM) + own_key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        size = 3 * PIECE
        large = OK + b"Content-Length: %d\r\n\r\n" % size + b"x" * size
        cut = OK + b"Content-Length: 1000\r\n\r\nabc"
        kept = [(FILLED, "keep"), (large, "keep"), (FILLED + INJECTED, "keep")]
        server = ServingFactory(
            [*kept, (FILLED, "close"), (FILLED, "keep"), (cut, "close"), (b"nonsense", "keep")]
        )
        tls_reactor: Any = reactor
        port = tls_reactor.listenSSL(
            0, server, PrivateCertificate.loadPEM(pem).options(), interface="127.0.0.1"
        )
        self.addCleanup(port.stopListening)
        agent = UpstreamAgent(
            Dialer(
                reactor,
                AddressPolicy(parse_networks(["127.0.0.0/8"])),
                NameLookup(
                    lambda _lookup, _host: succeed([ip_address("127.0.0.1")]), clock=Clock()
                ),
                tls=BrowserLikePolicyForHTTPS(
                    Certificate.loadPEM(authority.public_bytes(Encoding.PEM))
                ),
            )
        )
        self.addCleanup(agent.close)
        self.agent = agent
        url = b"https://ws.test:%d/x" % port.getHost().port
        for expected, connections in [
            ("OK:3", 1),
            (f"OK:{size}", 1),
            ("OK:3", 1),
            ("OK:3", 2),
            ("OK:3", 3),
            ("ABORT", 3),
        ]:
            self.assertEqual((await self.get(url)).outcome, expected)
            self.assertEqual(len(server.connections), connections)
        bad: Any = await self.assertFailure(agent.request(b"GET", url), UpstreamFailed)
        self.assertEqual(bad.code, "workspace_answered_badly")

    async def test_treq(self):
        """With treq on top, every byte arrives as it was sent, and no cookie is kept."""
        raw = bytes(range(256)) * 300
        answer = OK + b"Set-Cookie: a=b\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw
        url = await self.serve((answer, "keep"), (answer, "keep"))
        client = HTTPClient(self.agent)
        for _ in range(2):
            response = await client.get(url.decode(), unbuffered=True, allow_redirects=False)
            self.assertEqual(await response.content(), raw)
            self.assertEqual(list(response.cookies()), [])
        self.assertEqual(len(self.server.connections), 1)
        for request in self.server.requests:
            self.assertIn(b"\r\nAccept-Encoding: identity", request)
            self.assertEqual(request.lower().count(b"accept-encoding"), 1)
            self.assertNotIn(b"Cookie", request)
