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
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import error, reactor
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, PrivateCertificate
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import BrowserLikePolicyForHTTPS

from chatfiles.errors import Unavailable
from chatfiles.platform.upstream.dialer import MAX_ATTEMPTS, AddressRefused, Dialer
from chatfiles.rules.address_policy import AddressPolicy, IPAddress, parse_networks
from chatfiles.rules.urls import parse_workspace_url
from chatfiles.runtime.name_lookup import MAX_ADDRESSES, NameLookup

Answer = Sequence[IPAddress] | Failure | Deferred[Any]


class Names:
    """A resolver whose answers are written down; it answers at once."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = answers
        self.asked: list[str] = []

    def lookups(self) -> NameLookup:
        """:return: look-ups that ask here."""
        return NameLookup(self.in_thread, clock=Clock())

    def in_thread(self, _lookup: object, host: str) -> Deferred[Any]:
        """Answer from what is written down."""
        self.asked.append(host)
        answer = self.answers[host]
        if isinstance(answer, Deferred):
            return answer
        if isinstance(answer, Exception):
            return fail(answer)
        return succeed([ip_address(text) for text in answer.split()])


class DialerTestCase(SynchronousTestCase):
    """Dials in memory."""

    def setUp(self):
        """A network without names; ten seconds for each dial."""
        self.reactor = MemoryReactorClock()
        self.names = Names()
        self.dialer = self.make_dialer()

    def make_dialer(self, *allowed: str) -> Dialer:
        """:return: one for which *allowed* networks are allowed."""
        policy = AddressPolicy(parse_networks(allowed))
        return Dialer(self.reactor, policy, self.names.lookups(), connect_timeout=10.0)

    def connect(self, text: str) -> Deferred[Any]:
        """:return: the result of dialling the URL *text*."""
        self.made = Factory.forProtocol(Protocol)
        return self.dialer.endpoint(parse_workspace_url(text)).connect(self.made)

    def dialled(self) -> list[tuple[str, int]]:
        """:return: every address and port that has been dialled."""
        return [(host, port) for host, port, *_ in self.reactor.tcpClients]

    def accept(self, index: int = -1) -> Any:
        """Let a dial succeed; :return: its transport."""
        protocol = self.reactor.tcpClients[index][2].buildProtocol(None)
        transport: Any = StringTransport()
        assert protocol is not None
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return transport

    def reject(self, index: int = -1, reason: Exception | None = None) -> None:
        """Let a dial fail."""
        factory, connector = self.reactor.tcpClients[index][2], self.reactor.connectors[index]
        factory.clientConnectionFailed(connector, Failure(reason or error.ConnectionRefusedError()))


class ConnectTests(DialerTestCase):
    """A connection is only ever made to an address that has just been judged."""

    def test_address(self):
        """A literal address is judged and dialled as it stands, without a look-up."""
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
        """A literal address that is not allowed is never dialled."""
        for host in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:8.8.8.8]"):
            refused = self.failureResultOf(self.connect(f"http://{host}:8000"), AddressRefused)
            self.assertIn(" is ", refused.value.reason)
        self.assertEqual(self.dialled(), [])

    def test_allowed_address(self):
        """An allowed network can be dialled."""
        self.dialer = self.make_dialer("127.0.0.0/8")
        self.connect("http://127.0.0.1:8000")
        self.assertEqual(self.dialled(), [("127.0.0.1", 8000)])

    def test_name(self):
        """A name is looked up once, and its address is dialled, not the name."""
        self.names.answers["good.test"] = "8.8.8.8"
        result = self.connect("http://good.test:8000")
        self.accept()
        self.successResultOf(result)
        self.assertEqual(self.dialled(), [("8.8.8.8", 8000)])
        self.assertEqual(self.names.asked, ["good.test"])

    def test_rebinding(self):
        """A name that was public at registration and is not any more is refused at the dial."""
        url = parse_workspace_url("http://moving.test")
        self.names.answers["moving.test"] = "8.8.8.8"
        self.successResultOf(Deferred.fromCoroutine(self.dialer.check_host(url)))
        self.names.answers["moving.test"] = "127.0.0.1"
        self.failureResultOf(self.connect("http://moving.test"), AddressRefused)
        self.assertEqual(self.dialled(), [])

    def test_one_bad_address(self):
        """One address that is not allowed spoils the name; which one it is, is not told."""
        for answer in ("8.8.8.8 10.0.0.1", "10.0.0.1 8.8.8.8", "8.8.8.8 fe80::1%2", "::1 1.1.1.1"):
            self.names.answers["mixed.test"] = answer
            refused = self.failureResultOf(self.connect("http://mixed.test"), AddressRefused)
            self.assertRegex(refused.value.reason, r"^an address of the host mixed.test is \w")
        self.assertEqual(self.dialled(), [])

    def test_too_many_addresses(self):
        """A name with thousands of addresses costs little, and is refused."""
        enough = " ".join(f"8.8.4.{i}" for i in range(MAX_ADDRESSES))
        self.names.answers["many.test"] = enough
        self.assertNoResult(self.connect("http://many.test"))
        self.names.answers["many.test"] = enough + " 8.8.5.1"
        refused = self.failureResultOf(self.connect("http://many.test"), AddressRefused)
        self.assertIn("64", refused.value.reason)

    def test_no_such_name(self):
        """A name that cannot be looked up is an ordinary error."""
        self.names.answers["gone.test"] = socket.gaierror(socket.EAI_NONAME, "unknown")
        self.failureResultOf(self.connect("http://gone.test"), socket.gaierror)
        self.names.answers["empty.test"] = ""
        self.failureResultOf(self.connect("http://empty.test"), socket.gaierror)

    def test_next_address(self):
        """If one address refuses, the next one of the same answer is tried, in order."""
        self.names.answers["two.test"] = "2606:4700::1111 8.8.8.8"
        result = self.connect("http://two.test")
        self.assertEqual(self.dialled(), [("2606:4700::1111", 80)])
        self.reject()
        self.assertEqual(self.dialled()[1:], [("8.8.8.8", 80)])
        self.accept()
        self.successResultOf(result)
        self.assertEqual(self.names.asked, ["two.test"])

    def test_last_error(self):
        """If all addresses refuse, the last one's error is told."""
        self.names.answers["two.test"] = "8.8.8.8 1.1.1.1"
        result = self.connect("http://two.test")
        self.reject(reason=error.NoRouteError())
        self.reject()
        self.failureResultOf(result, error.ConnectionRefusedError)

    def test_attempts_are_bounded(self):
        """Not every address of a long answer is tried."""
        self.names.answers["many.test"] = " ".join(f"8.8.4.{i}" for i in range(MAX_ADDRESSES))
        result = self.connect("http://many.test")
        for _ in range(MAX_ATTEMPTS):
            self.assertNoResult(result)
            self.reject()
        self.failureResultOf(result, error.ConnectionRefusedError)
        self.assertEqual(len(self.dialled()), MAX_ATTEMPTS)


class DeadlineTests(DialerTestCase):
    """A dial ends within the connect timeout, whatever it is waiting for."""

    def test_connect(self):
        """An address that swallows packets is given up."""
        result = self.connect("http://8.8.8.8")
        self.reactor.advance(9.9)
        self.assertNoResult(result)
        self.reactor.advance(0.1)
        self.failureResultOf(result, error.TimeoutError)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_shared_by_addresses(self):
        """One dead address leaves time for the others, and all together have the one timeout."""
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
        """A name whose servers do not answer is given up."""
        self.names.answers["slow.test"] = Deferred()
        result = self.connect("http://slow.test")
        self.reactor.advance(10)
        self.failureResultOf(result, error.TimeoutError)
        self.names.answers["slow.test"].callback((ip_address("8.8.8.8"),))
        self.assertEqual(self.dialled(), [])

    def test_lookup_and_connect(self):
        """What the look-up took is not there for the connect any more."""
        self.names.answers["slow.test"] = Deferred()
        result = self.connect("http://slow.test")
        self.reactor.advance(7)
        self.names.answers["slow.test"].callback((ip_address("8.8.8.8"),))
        self.reactor.advance(2.9)
        self.assertNoResult(result)
        self.reactor.advance(0.1)
        self.failureResultOf(result, error.TimeoutError)

    def test_handshake(self):
        """A peer that accepts and then says nothing of TLS is given up, and its socket closed."""
        result = self.connect("https://8.8.8.8")
        transport = self.accept()
        self.assertTrue(transport.value().startswith(b"\x16\x03"))
        self.reactor.advance(10)
        self.failureResultOf(result, error.TimeoutError)
        self.assertTrue(transport.disconnecting)

    def test_cancel(self):
        """A caller that leaves while we dial ends the dial; the next address is not tried."""
        self.names.answers["two.test"] = "8.8.8.8 1.1.1.1"
        result = self.connect("http://two.test")
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.assertEqual(len(self.dialled()), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cancel_in_handshake(self):
        """A caller that leaves during the TLS handshake leaves no socket behind, nor another."""
        self.names.answers["two.test"] = "8.8.8.8 1.1.1.1"
        result = self.connect("https://two.test")
        transport = self.accept()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertTrue(transport.disconnecting)
        transport.protocol.connectionLost(Failure(error.ConnectionAborted()))
        self.assertEqual(len(self.dialled()), 1)

    def test_cancel_in_lookup(self):
        """A caller that leaves during the look-up waits for nothing."""
        self.names.answers["slow.test"] = Deferred()
        result = self.connect("http://slow.test")
        result.cancel()
        self.failureResultOf(result, CancelledError)


class CheckTests(DialerTestCase):
    """A URL that is being registered is judged as a dial would judge it."""

    def check(self, text: str) -> Deferred[None]:
        """:return: the result of judging *text*."""
        return Deferred.fromCoroutine(self.dialer.check_url(text))

    def test_allowed(self):
        """A public workspace can register; nothing is dialled for that."""
        self.names.answers["good.test"] = "8.8.8.8 2606:4700::1111"
        self.successResultOf(self.check("http://good.test:8000/base"))
        self.successResultOf(self.check("http://8.8.8.8"))
        self.assertEqual(self.dialled(), [])

    def test_refused(self):
        """A workspace is told why it cannot register, as a ValueError."""
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
        """A name that does not exist is a mistake of who registers."""
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
        """If the name service fails, the workspace is to come again rather than to give up."""
        for answer in (socket.gaierror(socket.EAI_AGAIN, "again"), OSError("no descriptors")):
            self.names.answers["dark.test"] = answer
            later = self.failureResultOf(self.check("http://dark.test"), Unavailable)
            self.assertIsNotNone(later.value.retry_after)
        self.names.answers["dark.test"] = Deferred()
        result = self.check("http://dark.test")
        self.reactor.advance(10)
        self.failureResultOf(result, Unavailable)

    def test_no_thread(self):
        """Where no thread can be started for a look-up, the client comes again: no 500."""
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


class Greeter(Protocol):
    """Says hello, and remembers the server name that it was asked for."""

    transport: Any

    def connectionMade(self) -> None:
        """Say hello."""
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:
        """Note under which name we are known to the other end."""
        assert isinstance(self.factory, GreeterFactory)
        self.factory.names.append(self.transport.getHandle().get_servername())
        self.transport.loseConnection()


class GreeterFactory(Factory):
    """Builds greeters."""

    protocol = Greeter

    def __init__(self) -> None:
        self.names: list[bytes | None] = []


class Listener(Protocol):
    """Waits for the hello, and answers."""

    transport: Any

    def __init__(self) -> None:
        self.heard: Deferred[bytes] = Deferred()
        self.lost: Deferred[None] = Deferred()
        self.connected_over: Any = None

    def connectionMade(self) -> None:
        """Note what we are connected over."""
        self.connected_over = self.transport

    def dataReceived(self, data: bytes) -> None:
        """Answer."""
        self.transport.write(b"thanks")
        self.heard.callback(data)

    def connectionLost(self, reason: Failure = Failure(error.ConnectionDone())) -> None:  # noqa: B008
        """Note it."""
        self.lost.callback(None)


class TLSTests(TestCase):
    """``https`` verifies the *name* of the workspace, although an address is dialled."""

    async def serve(self, *names: x509.GeneralName) -> None:
        """Listen with a certificate for *names*."""
        authority, key = make_certificate(None, None)
        self.authority = Certificate.loadPEM(authority.public_bytes(Encoding.PEM))
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
        """:return: the result of dialling https://*host*, whatever its name, at the listener."""
        names = Names(**{host: "127.0.0.1"})
        dialer = Dialer(
            reactor,
            AddressPolicy(parse_networks(["127.0.0.0/8"])),
            names.lookups(),
            tls=BrowserLikePolicyForHTTPS(self.authority) if trusting else None,
        )
        url = parse_workspace_url(f"https://{host}:{self.port}")
        return dialer.endpoint(url).connect(Factory.forProtocol(Listener))

    async def test_good_name(self):
        """The right name is asked for and accepted; the protocol sees TLS from the start."""
        await self.serve(x509.DNSName("ws.test"))
        listener = await self.connect("ws.test")
        self.assertEqual(await listener.heard, b"hello")
        await listener.lost
        self.assertEqual(self.factory.names, [b"ws.test"])
        self.assertEqual(listener.connected_over.getPeer().host, "127.0.0.1")

    async def test_good_address(self):
        """A workspace can have a certificate for its address."""
        await self.serve(x509.IPAddress(ip_address("127.0.0.1")))
        listener = await self.connect("127.0.0.1")
        self.assertEqual(await listener.heard, b"hello")
        await listener.lost
        self.assertEqual(self.factory.names, [None])

    async def test_bad_name(self):
        """A certificate for another name, or only for the address, is refused."""
        await self.serve(x509.DNSName("other.test"), x509.IPAddress(ip_address("127.0.0.1")))
        await self.assertFailure(self.connect("ws.test"), VerificationError, SSL.Error)

    async def test_unknown_authority(self):
        """A certificate that anybody could have made is refused."""
        await self.serve(x509.DNSName("ws.test"))
        await self.assertFailure(self.connect("ws.test", trusting=False), SSL.Error)

    async def test_impossible_name(self):
        """A name that no certificate can be for is refused rather than an internal error."""
        await self.serve(x509.DNSName("ws.test"))
        await self.assertFailure(self.connect("my_ws.test"), AddressRefused)
