"""
Which servers are accepted, and what is presented to them.
"""

from __future__ import annotations

import os
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, serverFromString, wrapClientTLS
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger, eventAsText
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from chatfiles.runtime.settings import PeerFiles
from chatfiles.runtime.tls.peers import CertificateRefused, PeerVerification, peer_verification
from tests.support.certificates import EXPIRED, Issued, root_authority

ROOT = root_authority()
OTHER = root_authority("other")
MIDDLE = ROOT.authority("middle")
HOST = "ws.test"
NOT_YET = (1, 2)


class Greeting(Protocol):
    """Sends what the certificate of the client is, and closes."""

    transport: Any

    def connectionMade(self) -> None:
        """Wait for the client: the handshake is complete then."""

    def dataReceived(self, data: bytes) -> None:
        """Answer."""
        theirs = self.transport.getPeerCertificate()
        self.transport.write(b"-" if theirs is None else b"%d" % theirs.get_serial_number())
        self.transport.loseConnection()


class Asking(Protocol):
    """Asks, and receives all that comes."""

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred()
        self._data = b""

    def connectionMade(self) -> None:
        """Ask."""
        assert self.transport is not None
        self.transport.write(b"who am I?")

    def dataReceived(self, data: bytes) -> None:
        """Collect."""
        self._data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """That was all."""
        if self._data:
            self.whole.callback(self._data)
        else:
            self.whole.errback(reason)


class PeerCase(TestCase):
    """A server, and files of the client."""

    def setUp(self) -> None:
        self.base = os.path.abspath(self.mktemp())
        os.mkdir(self.base)
        self.log: list[str] = []
        self.write("root.crt", ROOT.pem)

    def write(self, name: str, content: bytes) -> str:
        """:return: the path of a file with this content."""
        path = os.path.join(self.base, name)
        with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
        return path

    def trusting(self, authorities: bytes = ROOT.pem, **more: Any) -> PeerVerification:
        """:return: a verification by these authorities."""

        def observe(event: Any) -> None:
            self.log.append(eventAsText(event, includeTimestamp=False, includeSystem=False))

        path = self.write("ca.crt", authorities)
        observer: Any = observe
        return PeerVerification(PeerFiles(path, **more), Logger(observer=observer))

    async def serve(self, issued: Issued, chain: bytes = b"", client_ca: str = "") -> int:
        """:return: the port of a server with this certificate."""
        path = self.write(f"server-{len(os.listdir(self.base))}.pem", b"")
        self.write(os.path.basename(path), issued.pem + chain + issued.key)
        more = f":client_ca={client_ca}" if client_ca else ""
        text = f"chatfiles-tls:0:interface=127.0.0.1:certificate={path}{more}"
        port = await serverFromString(reactor, text).listen(Factory.forProtocol(Greeting))
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    async def ask(self, peers: PeerVerification, port: int, host: str = HOST) -> bytes:
        """:return: what the server sends."""
        creator = peers.creatorForNetloc(host.encode(), port)
        endpoint = wrapClientTLS(creator, TCP4ClientEndpoint(reactor, "127.0.0.1", port))
        factory = Factory.forProtocol(Asking)
        factory.noisy = False
        protocol: Any = await endpoint.connect(factory)
        whole: bytes = await protocol.whole
        return whole

    async def refusal(self, peers: PeerVerification, port: int, host: str = HOST) -> str:
        """:return: why the server is not accepted."""
        try:
            await self.ask(peers, port, host)
        except CertificateRefused as error:
            return str(error)
        raise AssertionError("it is accepted")


class VerificationTests(PeerCase):
    """The certificate of a server."""

    async def test_accepted(self) -> None:
        """A certificate for the name, a wildcard or the address is accepted."""
        peers = self.trusting()
        for issued, chain, host in (
            (ROOT.issue("ws.test"), b"", "ws.test"),
            (ROOT.issue("x.test", "ws.test"), b"", "WS.test"),
            (ROOT.issue("*.ws.test"), b"", "a.ws.test"),
            (ROOT.issue("my_ws.ws.test"), b"", "my_ws.ws.test"),
            (ROOT.issue("*.ws.test"), b"", "my_ws.ws.test"),
            (ROOT.issue("my_ws"), b"", "my_ws"),
            (ROOT.issue("127.0.0.1"), b"", "127.0.0.1"),
            (ROOT.issue("::1"), b"", "::1"),
            (MIDDLE.issue("ws.test"), MIDDLE.pem, "ws.test"),
        ):
            port = await self.serve(issued, chain)
            self.assertEqual(await self.ask(peers, port, host), b"-")

    async def test_refused(self) -> None:
        """Any other certificate is refused, and the reason says why."""
        peers = self.trusting()
        untrusted = "certificate is not trusted: its authority is unknown here, or an inter"
        unknown = "certificate is not trusted: its authority is unknown here"
        alone = "certificate is not trusted: it is signed by itself"
        for issued, chain, host, reason in (
            (ROOT.issue("other.test"), b"", "ws.test", "certificate is not for ws.test"),
            (ROOT.issue(), b"", "ws.test", "certificate is not for ws.test"),
            (ROOT.issue("127.0.0.1"), b"", "ws.test", "certificate is not for ws.test"),
            (ROOT.issue("ws.test"), b"", "127.0.0.1", "certificate is not for 127.0.0.1"),
            (ROOT.issue("*.ws.test"), b"", "a.b.ws.test", "certificate is not for a.b.ws.test"),
            (ROOT.issue("ws.test", days=EXPIRED), b"", "ws.test", "certificate has expired"),
            (ROOT.issue("ws.test", days=NOT_YET), b"", "ws.test", "certificate is not valid yet"),
            (OTHER.issue("ws.test"), b"", "ws.test", untrusted),
            (
                OTHER.issue("ws.test"),
                OTHER.pem,
                "ws.test",
                unknown,
            ),
            (MIDDLE.issue("ws.test"), b"", "ws.test", untrusted),
            (
                Issued("ws", None, "ws.test"),
                b"",
                "ws.test",
                alone,
            ),
        ):
            port = await self.serve(issued, chain)
            found = await self.refusal(peers, port, host)
            self.assertTrue(found.startswith(reason), (found, reason))
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_own_authority_is_no_host(self) -> None:
        """A certificate that a server's certificate has signed is not accepted."""
        leaf = ROOT.issue("leaf.test")
        port = await self.serve(Issued("child", leaf, "ws.test"), leaf.pem)
        found = await self.refusal(self.trusting(), port)
        self.assertRegex(found, "^certificate is signed by a certificate that is no authority$")

    def test_impossible_name(self) -> None:
        """A name that no certificate can hold is refused before a connection is made."""
        for name in (b"", b"a..test", b"a.test\0", b"[::1]"):
            self.assertRaises(ValueError, self.trusting().creatorForNetloc, name, 443)


class AuthorityTests(PeerCase):
    """Which authorities are trusted."""

    async def test_machine(self) -> None:
        """The operator's authorities are trusted besides the machine's, or in their place."""
        self.patch(os, "environ", os.environ)
        os.environ["SSL_CERT_FILE"] = self.write("machine.crt", OTHER.pem)
        self.addCleanup(os.environ.pop, "SSL_CERT_FILE")
        ours = await self.serve(ROOT.issue(HOST))
        theirs = await self.serve(OTHER.issue(HOST))
        both = self.trusting()
        self.assertEqual(await self.ask(both, ours), b"-")
        self.assertEqual(await self.ask(both, theirs), b"-")
        only = self.trusting(only=True)
        self.assertEqual(await self.ask(only, ours), b"-")
        self.assertIn("not trusted", await self.refusal(only, theirs))
        machine = PeerVerification()
        self.assertEqual(await self.ask(machine, theirs), b"-")
        self.assertIn("not trusted", await self.refusal(machine, ours))

    async def test_renewed(self) -> None:
        """New authorities are used for new connections; those that are not valid are not."""
        ours = await self.serve(ROOT.issue(HOST))
        peers = self.trusting()
        self.assertEqual(await self.ask(peers, ours), b"-")
        self.write("ca.crt", b"not a certificate")
        peers.look()
        self.assertEqual(await self.ask(peers, ours), b"-")
        self.assertIn("ca.crt: does not hold certificates in PEM format; what was", self.log[0])
        self.write("ca.crt", OTHER.pem)
        peers.look()
        self.assertIn("not trusted", await self.refusal(peers, ours))
        self.assertEqual(self.log[1:], ["certificates for connections to servers were read again"])


class OwnTests(PeerCase):
    """The certificate of the client."""

    async def test_presented(self) -> None:
        """It is presented with its chain, and renewed."""
        port = await self.serve(ROOT.issue(HOST), client_ca=self.write("clients.crt", ROOT.pem))
        own = MIDDLE.issue("client.test")
        path = self.write("own.pem", own.pem + MIDDLE.pem)
        key = self.write("own.key", own.key)
        peers = self.trusting(certificate=path, key=key)
        serial = b"%d" % own.certificate.serial_number
        self.assertEqual(await self.ask(peers, port), serial)
        own = MIDDLE.issue("client.test")
        self.write("own.pem", own.pem + MIDDLE.pem)
        peers.look()
        self.assertEqual(await self.ask(peers, port), serial)
        self.write("own.key", own.key)
        peers.look()
        self.assertEqual(await self.ask(peers, port), b"%d" % own.certificate.serial_number)

    def test_exposed(self) -> None:
        """A key that any user can read is reported."""
        own = ROOT.issue("client.test")
        path = self.write("own.pem", own.pem + own.key)
        self.trusting(certificate=path)
        self.assertEqual(self.log, [])
        os.chmod(path, 0o644)
        self.trusting(certificate=path)
        self.assertEqual(len(self.log), 1)
        self.assertIn(f"the key in {path} may be read or written by any user", self.log[0])

    async def test_missing(self) -> None:
        """A server that wants one refuses a client without one."""
        port = await self.serve(ROOT.issue(HOST), client_ca=self.write("clients.crt", ROOT.pem))
        error = await self.assertFailure(
            Deferred.fromCoroutine(self.ask(self.trusting(), port)), SSL.Error
        )
        self.assertIn("certificate required", str(error))

    def test_refused_files(self) -> None:
        """An error names the option and the file."""
        ca, pem = self.write("a.crt", ROOT.pem), self.write("a.pem", ROOT.pem)
        for files, text in (
            (PeerFiles("/none"), "--upstream-ca takes a file in PEM format: /none: No such file"),
            (PeerFiles(ca, certificate=pem), f"--upstream-certificate takes a .*: {pem}: does not"),
            (PeerFiles(ca, certificate=pem, key=ca), f"--upstream-key takes .*: {ca}: does not"),
        ):
            with self.assertRaisesRegex(ValueError, text):
                peer_verification(files, "--upstream-ca", Logger())
