"""
Handshakes with the certificates of a listener.
"""

from __future__ import annotations

import os
import ssl
from typing import Any

from OpenSSL import SSL
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger, eventAsText
from twisted.protocols.tls import TLSMemoryBIOFactory

from chatfiles.runtime.tls.files import BadFile
from chatfiles.runtime.tls.server import LOOKS_PER_KEY, ServerCertificates
from tests.runtime.tls.handshake import Client, OldClient, context
from tests.runtime.tls.test_files import FileCase
from tests.support.certificates import EXPIRED, Issued, root_authority

ROOT = root_authority()
MIDDLE = ROOT.authority("middle")
PLAIN_CBC = "ECDHE-ECDSA-AES256-SHA384"


class ServerCase(FileCase):
    """A directory with certificates, which a client requests."""

    def setUp(self) -> None:
        super().setUp()
        self.log: list[str] = []
        self.issued = {name: self.issue(name) for name in ("default", "a.test", "_.b.test")}

    def issue(self, name: str) -> Issued:
        """:return: a new certificate, which is in NAME.pem with its chain, and NAME.key, now."""
        issued = MIDDLE.issue(name.replace("_", "*"))
        issued.write(f"{self.base}/{name}", chain=MIDDLE.pem)
        return issued

    def server(self, client_ca: str = "") -> ServerCertificates:
        """:return: the certificates of the directory."""
        observer: Any = self._observe
        return ServerCertificates(self.base, "", client_ca, Logger(observer=observer))

    def _observe(self, event: Any) -> None:
        self.log.append(eventAsText(event, includeTimestamp=False, includeSystem=False))

    def assert_served(self, server: ServerCertificates, name: str | None, by: str) -> None:
        """A client that sends *name* gets the certificate *by*."""
        client = Client(server, context(ROOT), name)
        expected = ssl.PEM_cert_to_DER_cert(self.issued[by].pem.decode())
        self.assertEqual(client.served, expected, name)


class NameTests(ServerCase):
    """Which certificate a client gets."""

    def test_names(self) -> None:
        """The certificate of the name, the wildcard, or the default, each with its chain."""
        server = self.server()
        for name, by in (
            ("a.test", "a.test"),
            ("A.TEST", "a.test"),
            ("x.b.test", "_.b.test"),
            ("b.test", "default"),
            ("127.0.0.1", "default"),
            (None, "default"),
        ):
            self.assert_served(server, name, by)

    def test_without_default(self) -> None:
        """Without a default, the handshake of a name without certificate fails; others succeed."""
        self.remove("default")
        server = self.server()
        self.assert_served(server, "a.test", "a.test")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            settings = context(ROOT)
            settings.minimum_version = settings.maximum_version = version
            for name in ("c.test", None):
                with self.assertRaisesRegex(ssl.SSLError, "HANDSHAKE_FAILURE"):
                    Client(server, settings, name)

    def remove(self, name: str) -> None:
        """Remove the files of a certificate."""
        os.unlink(f"{self.base}/{name}.pem")
        os.unlink(f"{self.base}/{name}.key")


class ProtocolTests(ServerCase):
    """What is negotiated."""

    def client(self, server: ServerCertificates, **changes: Any) -> ssl.SSLObject:
        """:return: the TLS of a client with these attributes of its settings."""
        settings = context(ROOT)
        ciphers = changes.pop("ciphers", None)
        if ciphers:
            settings.set_ciphers(ciphers)
        protocols = changes.pop("protocols", None)
        if protocols:
            settings.set_alpn_protocols(protocols)
        for name, value in changes.items():
            setattr(settings, name, value)
        return Client(server, settings, "a.test").tls

    def test_versions(self) -> None:
        """TLS 1.3 and 1.2 are spoken, and nothing older."""
        server = self.server()
        self.assertEqual(self.client(server).version(), "TLSv1.3")
        old = self.client(server, maximum_version=ssl.TLSVersion.TLSv1_2)
        self.assertEqual(old.version(), "TLSv1.2")
        with self.assertRaises(ssl.SSLError):
            self.client(
                server,
                minimum_version=ssl.TLSVersion.TLSv1,
                maximum_version=ssl.TLSVersion.TLSv1_1,
                ciphers="DEFAULT@SECLEVEL=0",
            )

    def test_suites(self) -> None:
        """TLS 1.2 has suites with AEAD and forward secrecy only."""
        server = self.server()
        version = ssl.TLSVersion.TLSv1_2
        for suite in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"):
            tls = self.client(server, maximum_version=version, ciphers=suite)
            cipher = tls.cipher()
            assert cipher is not None
            self.assertEqual(cipher[0], suite)
        for suite in (PLAIN_CBC, "ECDHE-ECDSA-AES256-SHA", "AES256-GCM-SHA384"):
            with self.assertRaises(ssl.SSLError):
                self.client(server, maximum_version=version, ciphers=suite)

    def test_protocol(self) -> None:
        """HTTP/1.1 is chosen, for each certificate; a client need not offer anything."""
        server = self.server()
        chosen = self.client(server, protocols=["h2", "http/1.1"]).selected_alpn_protocol()
        self.assertEqual(chosen, "http/1.1")
        self.assertIsNone(self.client(server).selected_alpn_protocol())

    def test_renegotiation(self) -> None:
        """A client cannot renegotiate; the connection goes on."""
        client = OldClient(self.server(), b"a.test")
        client.echo(b"before")
        client.tls.renegotiate()
        with self.assertRaisesRegex(SSL.Error, "no renegotiation"):
            client.echo(b"after")

    def test_tickets(self) -> None:
        """A session can be resumed, until its ticket is too old, or certificates have changed."""
        server = self.server()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            settings = context(ROOT)
            settings.maximum_version = version
            first = Client(server, settings, "a.test")
            self.assertIs(first.tls.session_reused, False)
            session = first.tls.session
            server._looks = LOOKS_PER_KEY - 1
            self.assertIs(Client(server, settings, "a.test", session).tls.session_reused, True)
            server.look()
            self.assertIs(Client(server, settings, "a.test", session).tls.session_reused, False)


class RenewalTests(ServerCase):
    """New files."""

    def test_renewed(self) -> None:
        """New handshakes get the new certificate; connections continue."""
        server = self.server()
        client = Client(server, context(ROOT), "a.test")
        self.issued["a.test"] = self.issue("a.test")
        server.look()
        self.assert_served(server, "a.test", "a.test")
        client.echo(b"still here")
        [line] = self.log
        self.assertRegex(
            line, rf"\A{self.base}: read again; valid until \d{{4}}-\d\d-\d\d .* UTC\Z"
        )

    def test_bad(self) -> None:
        """Files that are not valid change nothing."""
        server = self.server()
        self.write("a.test.pem", b"")
        server.look()
        self.assert_served(server, "a.test", "a.test")
        [line] = self.log
        self.assertIn(f"{self.base}/a.test.pem: does not hold certificates", line)
        self.assertTrue(server.is_refused)

    def test_refused(self) -> None:
        """Files count as refused until they are valid, even if they are the old ones again."""
        server = self.server()
        before = self.issued["a.test"].pem + MIDDLE.pem
        for content, is_refused in ((before, False), (b"", True), (before, False)):
            self.write("a.test.pem", content)
            server.look()
            self.assertEqual(server.is_refused, is_refused)
        os.rename(self.base, f"{self.base}-moved")
        server.look()
        self.assertTrue(server.is_refused)
        os.rename(f"{self.base}-moved", self.base)
        server.look()
        self.assertFalse(server.is_refused)

    def test_not_after(self) -> None:
        """The earliest end of all certificates is known, and told if it is over."""
        server = self.server()
        expected = min(each.certificate.not_valid_after_utc for each in self.issued.values())
        self.assertEqual(server.not_after, expected.timestamp())
        early = MIDDLE.issue("a.test", days=EXPIRED)
        early.write(f"{self.base}/a.test")
        server.look()
        self.assertEqual(server.not_after, early.certificate.not_valid_after_utc.timestamp())
        expiry = early.certificate.not_valid_after_utc
        text = f"{self.base}: read again; a certificate expired on {expiry:%Y-%m-%d %H:%M:%S} UTC"
        self.assertEqual(self.log, [text])


class ClientTests(ServerCase):
    """``client_ca``: clients need a certificate."""

    def setUp(self) -> None:
        super().setUp()
        self.ours = root_authority("ours")
        self.authorities = self.write("clients.crt", self.ours.pem)
        self.certificates = self.server(self.authorities)

    def connect(self, issued: Issued | None, chain: bytes = b"") -> Client:
        """:return: a client that has this certificate."""
        own = None
        if issued is not None:
            issued.write(f"{self.base}/own", ".crt", chain)
            own = (f"{self.base}/own.crt", f"{self.base}/own.key")
        return Client(self.certificates, context(ROOT, own=own), "a.test")

    def test_required(self) -> None:
        """A certificate of the authority is accepted; no certificate, or any other, is not."""
        self.connect(self.ours.issue("client"))
        middle = self.ours.authority("middle")
        self.connect(middle.issue("client"), middle.pem)
        for refused in (
            None,
            ROOT.issue("client"),
            self.ours.issue("client", days=EXPIRED),
            middle.issue("client"),
        ):
            with self.assertRaises(ssl.SSLError):
                self.connect(refused)

    def test_named(self) -> None:
        """The server names its authorities, so that a client can choose among its certificates."""
        factory: Any = TLSMemoryBIOFactory(self.certificates, False, Factory.forProtocol(Protocol))
        connection = self.certificates.serverConnectionForTLS(factory.buildProtocol(None))
        names = connection.get_client_ca_list()
        self.assertEqual([name.commonName for name in names], ["ours"])

    def test_renewed(self) -> None:
        """When the authorities change, sessions of the old ones are not resumed."""
        self.connect(self.ours.issue("client"))
        own = (f"{self.base}/own.crt", f"{self.base}/own.key")
        settings = context(ROOT, own=own)
        session = Client(self.certificates, settings, "a.test").tls.session
        theirs = root_authority("theirs")
        self.write("clients.crt", theirs.pem)
        self.certificates.look()
        self.assertEqual(self.log[-1], f"{self.authorities}: read again")
        with self.assertRaises(ssl.SSLError):
            Client(self.certificates, settings, "a.test", session)
        self.connect(theirs.issue("client"))

    def test_bad(self) -> None:
        """Authorities that are not valid are refused at the start, and change nothing later."""
        self.write("clients.crt", b"")
        self.assertFalse(self.certificates.is_refused)
        self.certificates.look()
        self.assertTrue(self.certificates.is_refused)
        self.connect(self.ours.issue("client"))
        with self.assertRaises(ssl.SSLError):
            self.connect(None)
        self.assertRaises(BadFile, self.server, self.authorities)
