"""
Tests for `chatfiles.platform.upstream.dialer`.
"""

from __future__ import annotations

import datetime
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet import error, reactor
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from chatfiles.errors import Unavailable
from chatfiles.platform.upstream.dialer import MAX_ATTEMPTS, AddressRefused, Dialer
from chatfiles.rules.address_policy import AddressPolicy, IPAddress, parse_networks
from chatfiles.rules.urls import parse_workspace_url
from chatfiles.runtime.name_lookup import MAX_ADDRESSES, NameLookup
from chatfiles.runtime.settings import PeerFiles
from chatfiles.runtime.tls.peers import CertificateRefused, PeerVerification

Answer = Sequence[IPAddress] | Failure | Deferred[Any]


class Names:
    """A resolver with prepared results, which it returns at once."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = answers
        self.asked: list[str] = []

    def lookups(self) -> NameLookup:
        """:return: look-ups that use this resolver."""
        return NameLookup(self.in_thread, clock=Clock())

    def in_thread(self, _lookup: object, host: str) -> Deferred[Any]:
        """Return the prepared result."""
        self.asked.append(host)
        answer = self.answers[host]
        if isinstance(answer, Deferred):
            return answer
        if isinstance(answer, Exception):
            return fail(answer)
        return succeed([ip_address(text) for text in answer.split()])


class DialerTestCase(SynchronousTestCase):
    """Connections in memory."""

    def setUp(self):
        """A network without names; a connect timeout of ten seconds."""
        self.reactor = MemoryReactorClock()
        self.names = Names()
        self.dialer = self.make_dialer()

    def make_dialer(self, *allowed: str) -> Dialer:
        """:return: a dialer for which *allowed* networks are allowed."""
        policy = AddressPolicy(parse_networks(allowed))
        return Dialer(self.reactor, policy, self.names.lookups(), connect_timeout=10.0)

    def connect(self, text: str) -> Deferred[Any]:
        """:return: the result of connecting to the URL *text*."""
        self.made = Factory.forProtocol(Protocol)
        return self.dialer.endpoint(parse_workspace_url(text)).connect(self.made)

    def dialled(self) -> list[tuple[str, int]]:
        """:return: each address and port of a connection attempt."""
        return [(host, port) for host, port, *_ in self.reactor.tcpClients]

    def accept(self, index: int = -1) -> Any:
        """Let a connection attempt succeed; :return: its transport."""
        protocol = self.reactor.tcpClients[index][2].buildProtocol(None)
        transport: Any = StringTransport()
        assert protocol is not None
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return transport

    def reject(self, index: int = -1, reason: Exception | None = None) -> None:
        """Let a connection attempt fail."""
        factory, connector = self.reactor.tcpClients[index][2], self.reactor.connectors[index]
        factory.clientConnectionFailed(connector, Failure(reason or error.ConnectionRefusedError()))


class ConnectTests(DialerTestCase):
    """Connections, which are only made to addresses that have just been checked."""

    def test_address(self):
        """A literal address is checked and connected to as it stands, without a look-up."""
        for url, expected in [
            ("http://8.8.8.8:8000/base", ("8.8.8.8", 8000)),
            ("http://[2606:4700::1111]", ("2606:4700::1111", 80)),
        ]:
            result = self.connect(url)
            self.assertEqual(self.dialled()[-1], expected)
            self.assertNoResult(result)
            self.accept()
            self.assertIsInstance(self.successResultOf(result), Protocol)
        self.assertEqual(self.names.asked, [])

    def test_refused_address(self):
        """A literal address that is not allowed is never connected to."""
        for host in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:8.8.8.8]"):
            refused = self.failureResultOf(self.connect(f"http://{host}:8000"), AddressRefused)
            self.assertIn(" is ", refused.value.reason)
        self.assertEqual(self.dialled(), [])

    def test_allowed_address(self):
        """An address of an allowed network is connected to."""
        self.dialer = self.make_dialer("127.0.0.0/8")
        self.connect("http://127.0.0.1:8000")
        self.assertEqual(self.dialled(), [("127.0.0.1", 8000)])

    def test_name(self):
        """A name is looked up once; the connection is made to its address, not to the name."""
        self.names.answers["good.test"] = "8.8.8.8"
        result = self.connect("http://good.test:8000")
        self.accept()
        self.successResultOf(result)
        self.assertEqual(self.dialled(), [("8.8.8.8", 8000)])
        self.assertEqual(self.names.asked, ["good.test"])

    def test_rebinding(self):
        """
        A name whose address was public at registration, and is not any more, is refused when
        connecting.
        """
        url = parse_workspace_url("http://moving.test")
        self.names.answers["moving.test"] = "8.8.8.8"
        self.successResultOf(Deferred.fromCoroutine(self.dialer.check_host(url)))
        self.names.answers["moving.test"] = "127.0.0.1"
        self.failureResultOf(self.connect("http://moving.test"), AddressRefused)
        self.assertEqual(self.dialled(), [])

    def test_one_bad_address(self):
        """
        A name is refused if one of its addresses is not allowed; the error does not reveal which
        one.
        """
        for answer in ("8.8.8.8 10.0.0.1", "10.0.0.1 8.8.8.8", "8.8.8.8 fe80::1%2", "::1 1.1.1.1"):
            self.names.answers["mixed.test"] = answer
            refused = self.failureResultOf(self.connect("http://mixed.test"), AddressRefused)
            self.assertRegex(refused.value.reason, r"^an address of the host mixed.test is \w")
        self.assertEqual(self.dialled(), [])

    def test_too_many_addresses(self):
        """
        A name with more than `MAX_ADDRESSES` addresses is refused, which bounds the cost of checks.
        """
        enough = " ".join(f"8.8.4.{i}" for i in range(MAX_ADDRESSES))
        self.names.answers["many.test"] = enough
        self.assertNoResult(self.connect("http://many.test"))
        self.names.answers["many.test"] = enough + " 8.8.5.1"
        refused = self.failureResultOf(self.connect("http://many.test"), AddressRefused)
        self.assertIn("64", refused.value.reason)

    def test_no_such_name(self):
        """A name that does not resolve fails with `socket.gaierror`."""
        self.names.answers["gone.test"] = socket.gaierror(socket.EAI_NONAME, "unknown")
        self.failureResultOf(self.connect("http://gone.test"), socket.gaierror)
        self.names.answers["empty.test"] = ""
        self.failureResultOf(self.connect("http://empty.test"), socket.gaierror)

    def test_next_address(self):
        """If an address refuses, the next one of the same look-up is tried, in order."""
        self.names.answers["two.test"] = "2606:4700::1111 8.8.8.8"
        result = self.connect("http://two.test")
        self.assertEqual(self.dialled(), [("2606:4700::1111", 80)])
        self.reject()
        self.assertEqual(self.dialled()[1:], [("8.8.8.8", 80)])
        self.accept()
        self.successResultOf(result)
        self.assertEqual(self.names.asked, ["two.test"])

    def test_last_error(self):
        """If all addresses refuse, the error of the last one is reported."""
        self.names.answers["two.test"] = "8.8.8.8 1.1.1.1"
        result = self.connect("http://two.test")
        self.reject(reason=error.NoRouteError())
        self.reject()
        self.failureResultOf(result, error.ConnectionRefusedError)

    def test_attempts_are_bounded(self):
        """At most `MAX_ATTEMPTS` addresses of a name are tried."""
        self.names.answers["many.test"] = " ".join(f"8.8.4.{i}" for i in range(MAX_ADDRESSES))
        result = self.connect("http://many.test")
        for _ in range(MAX_ATTEMPTS):
            self.assertNoResult(result)
            self.reject()
        self.failureResultOf(result, error.ConnectionRefusedError)
        self.assertEqual(len(self.dialled()), MAX_ATTEMPTS)


class DeadlineTests(DialerTestCase):
    """The connect timeout, which covers every phase of connecting."""

    def test_connect(self):
        """A connection attempt that gets no response is stopped at the timeout."""
        result = self.connect("http://8.8.8.8")
        self.reactor.advance(9.9)
        self.assertNoResult(result)
        self.reactor.advance(0.1)
        self.failureResultOf(result, error.TimeoutError)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_shared_by_addresses(self):
        """All addresses share one timeout; an unresponsive one leaves time for the next."""
        self.names.answers["two.test"] = "8.8.8.8 1.1.1.1"
        result = self.connect("http://two.test")
        self.reactor.advance(5)
        self.assertEqual(self.dialled(), [("8.8.8.8", 80), ("1.1.1.1", 80)])
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.reactor.advance(4.9)
        self.assertNoResult(result)
        self.reactor.advance(0.1)
        self.failureResultOf(result, error.TimeoutError)

    def test_lookup(self):
        """A look-up that takes too long is timed out; its late result is ignored."""
        self.names.answers["slow.test"] = Deferred()
        result = self.connect("http://slow.test")
        self.reactor.advance(10)
        self.failureResultOf(result, error.TimeoutError)
        self.names.answers["slow.test"].callback((ip_address("8.8.8.8"),))
        self.assertEqual(self.dialled(), [])

    def test_lookup_and_connect(self):
        """A look-up and the connection attempt after it share one timeout."""
        self.names.answers["slow.test"] = Deferred()
        result = self.connect("http://slow.test")
        self.reactor.advance(7)
        self.names.answers["slow.test"].callback((ip_address("8.8.8.8"),))
        self.reactor.advance(2.9)
        self.assertNoResult(result)
        self.reactor.advance(0.1)
        self.failureResultOf(result, error.TimeoutError)

    def test_handshake(self):
        """
        A peer that accepts, and then sends nothing of TLS, is timed out, and its socket closed.
        """
        result = self.connect("https://8.8.8.8")
        transport = self.accept()
        self.assertTrue(transport.value().startswith(b"\x16\x03"))
        self.reactor.advance(10)
        self.failureResultOf(result, error.TimeoutError)
        self.assertTrue(transport.disconnecting)

    def test_cancel(self):
        """Cancelling stops the connection attempt; the next address is not tried."""
        self.names.answers["two.test"] = "8.8.8.8 1.1.1.1"
        result = self.connect("http://two.test")
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.assertEqual(len(self.dialled()), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cancel_in_handshake(self):
        """Cancelling during the TLS handshake closes the socket; the next address is not tried."""
        self.names.answers["two.test"] = "8.8.8.8 1.1.1.1"
        result = self.connect("https://two.test")
        transport = self.accept()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertTrue(transport.disconnecting)
        transport.protocol.connectionLost(Failure(error.ConnectionAborted()))
        self.assertEqual(len(self.dialled()), 1)

    def test_cancel_in_lookup(self):
        """Cancelling during the look-up takes effect at once."""
        self.names.answers["slow.test"] = Deferred()
        result = self.connect("http://slow.test")
        result.cancel()
        self.failureResultOf(result, CancelledError)


class CheckTests(DialerTestCase):
    """The check of a URL at registration, by the same rules as when connecting."""

    def check(self, text: str) -> Deferred[None]:
        """:return: the result of checking *text*."""
        return Deferred.fromCoroutine(self.dialer.check_url(text))

    def test_allowed(self):
        """A public workspace can register; no connection is made for that."""
        self.names.answers["good.test"] = "8.8.8.8 2606:4700::1111"
        self.successResultOf(self.check("http://good.test:8000/base"))
        self.successResultOf(self.check("http://8.8.8.8"))
        self.assertEqual(self.dialled(), [])

    def test_refused(self):
        """A refusal says why the workspace cannot register, and is a `ValueError`."""
        self.names.answers["127.0.0.1.nip.io"] = "127.0.0.1"
        for text, reason in [
            ("http://127.0.0.1.nip.io:8000", "loopback"),
            ("http://10.0.0.1:8000", "RFC 1918"),
            ("http://127.1:8000", "four decimal"),
            ("nonsense", "begin with"),
        ]:
            refused = self.failureResultOf(self.check(text), ValueError)
            self.assertIn(reason, str(refused.value))

    def test_no_such_name(self):
        """A name that does not exist is an error of the client that registers."""
        for answer in (
            socket.gaierror(socket.EAI_NONAME, "unknown"),
            socket.gaierror(socket.EAI_NODATA, "no address"),
            UnicodeError("label too long"),
            "",
        ):
            self.names.answers["gone.test"] = answer
            refused = self.failureResultOf(self.check("http://gone.test"), AddressRefused)
            self.assertIn("gone.test does not resolve", refused.value.reason)

    def test_cannot_tell(self):
        """If the name service fails, the error is temporary: the workspace retries later."""
        for answer in (socket.gaierror(socket.EAI_AGAIN, "again"), OSError("no descriptors")):
            self.names.answers["dark.test"] = answer
            later = self.failureResultOf(self.check("http://dark.test"), Unavailable)
            self.assertIsNotNone(later.value.retry_after)
        self.names.answers["dark.test"] = Deferred()
        result = self.check("http://dark.test")
        self.reactor.advance(10)
        self.failureResultOf(result, Unavailable)

    def test_no_thread(self):
        """If no thread can be started for a look-up, the error is temporary, not a 500."""
        error = Unavailable("no thread can be started")
        lookups = NameLookup(lambda *_: fail(error), clock=self.reactor)
        dialer = Dialer(self.reactor, AddressPolicy(), lookups, connect_timeout=5.0)
        url = parse_workspace_url("http://good.test")
        for result in (
            Deferred.fromCoroutine(dialer.check_url("http://good.test")),
            dialer.endpoint(url).connect(Factory()),
        ):
            self.failureResultOf(result, Unavailable)


def make_certificate(authority: Any, authority_key: Any, *names: x509.GeneralName) -> Any:
    """:return: a certificate and its key, signed by *authority* or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = "authority" if authority is None else "workspace"
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if authority is None else authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(authority is None, None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(authority_key or key, SHA256()), key


def trusting(path: str, authority: Any) -> PeerVerification:
    """:return: a verification by *authority*, which is written to *path*."""
    with open(path, "wb") as file:
        file.write(authority.public_bytes(Encoding.PEM))
    return PeerVerification(PeerFiles(path))


class Greeter(Protocol):
    """Sends a greeting, and records the server name that the client asked for."""

    transport: Any

    def connectionMade(self) -> None:
        """Send the greeting."""
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:
        """Record the server name of the TLS handshake."""
        assert isinstance(self.factory, GreeterFactory)
        self.factory.names.append(self.transport.getHandle().get_servername())
        self.transport.loseConnection()


class GreeterFactory(Factory):
    """Builds greeters."""

    protocol = Greeter

    def __init__(self) -> None:
        self.names: list[bytes | None] = []


class Listener(Protocol):
    """Waits for the greeting, and responds."""

    transport: Any

    def __init__(self) -> None:
        self.heard: Deferred[bytes] = Deferred()
        self.lost: Deferred[None] = Deferred()
        self.connected_over: Any = None

    def connectionMade(self) -> None:
        """Record the transport."""
        self.connected_over = self.transport

    def dataReceived(self, data: bytes) -> None:
        """Respond."""
        self.transport.write(b"thanks")
        self.heard.callback(data)

    def connectionLost(self, reason: Failure = Failure(error.ConnectionDone())) -> None:  # noqa: B008
        """Record it."""
        self.lost.callback(None)


class TLSTests(TestCase):
    """``https`` verifies the *name* of the workspace, although it connects to an address."""

    async def serve(self, *names: x509.GeneralName) -> None:
        """Listen with a certificate for *names*."""
        authority, key = make_certificate(None, None)
        self.peers = trusting(self.mktemp(), authority)
        certificate, own_key = make_certificate(authority, key, *names)
        pem = certificate.public_bytes(Encoding.PEM) + own_key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        self.factory = GreeterFactory()
        options = PrivateCertificate.loadPEM(pem).options()
        endpoint = SSL4ServerEndpoint(reactor, 0, options, interface="127.0.0.1")
        port = await endpoint.listen(self.factory)
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port

    def connect(self, host: str, *, trusting: bool = True) -> Deferred[Any]:
        """:return: the result of connecting to https://*host*, which resolves to the listener."""
        names = Names(**{host: "127.0.0.1"})
        dialer = Dialer(
            reactor,
            AddressPolicy(parse_networks(["127.0.0.0/8"])),
            names.lookups(),
            tls=self.peers if trusting else None,
        )
        url = parse_workspace_url(f"https://{host}:{self.port}")
        return dialer.endpoint(url).connect(Factory.forProtocol(Listener))

    async def test_good_name(self):
        """The name is sent and verified; the protocol has TLS from the start."""
        await self.serve(x509.DNSName("ws.test"))
        listener = await self.connect("ws.test")
        self.assertEqual(await listener.heard, b"hello")
        await listener.lost
        self.assertEqual(self.factory.names, [b"ws.test"])
        self.assertEqual(listener.connected_over.getPeer().host, "127.0.0.1")

    async def test_good_address(self):
        """A certificate for the workspace's address is accepted."""
        await self.serve(x509.IPAddress(ip_address("127.0.0.1")))
        listener = await self.connect("127.0.0.1")
        self.assertEqual(await listener.heard, b"hello")
        await listener.lost
        self.assertEqual(self.factory.names, [None])

    async def test_bad_name(self):
        """A certificate for another name, or only for the address, is refused."""
        await self.serve(x509.DNSName("other.test"), x509.IPAddress(ip_address("127.0.0.1")))
        await self.assertFailure(self.connect("ws.test"), CertificateRefused)

    async def test_unknown_authority(self):
        """A certificate of an unknown authority is refused."""
        await self.serve(x509.DNSName("ws.test"))
        await self.assertFailure(self.connect("ws.test", trusting=False), CertificateRefused)

    async def test_underscore(self):
        """A name with an underscore is verified as any other."""
        await self.serve(x509.DNSName("my_ws.test"))
        listener = await self.connect("my_ws.test")
        self.assertEqual(await listener.heard, b"hello")
        await listener.lost
        self.assertEqual(self.factory.names, [b"my_ws.test"])
