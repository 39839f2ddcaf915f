"""
``chatfiles put`` over TLS, on a terminal, and with little memory.
"""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
import subprocess
import sys
from ipaddress import IPv4Address

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.cli.cli_stub import WORKSPACE, said
from tests.cli.terminal import test_terminal
from tests.cli.upload_peer import CONTINUE, KEPT, LARGE, CutShort, Peer, PutCase, stored
from tests.platform.upstream.test_dialer import make_certificate


class TlsTests(PutCase):
    """Uploads over TLS, where a readable socket need not mean application data."""

    def setUp(self) -> None:
        super().setUp()
        self.url = self.url.replace("http://", "https://")
        address = x509.IPAddress(IPv4Address("127.0.0.1"))
        certificate, key = make_certificate(None, None, address)
        pem = certificate.public_bytes(Encoding.PEM)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.fill("authority.pem", pem)
        self.fill("server.pem", pem + private)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.path("server.pem"))
        self.trust = {"SSL_CERT_FILE": self.path("authority.pem")}

    def test_whole(self) -> None:
        """A large body is sent completely; TLS's own records are not taken for a response."""
        content = self.fill("large", os.urandom(5_000_000))
        result = self.against(self.take(stored(content)), "large", env=self.trust)
        self.ended(result, 0)
        self.assertEqual([sent for _, sent in self.parts()], [content])

    def test_refused(self) -> None:
        """An early response is read over TLS too."""
        self.fill("large", bytes(LARGE))

        def script(peer: Peer) -> None:
            peer.read_head()
            peer.send(CONTINUE)
            peer.exactly(1_000_000)
            peer.send(said("413 X", {"error": "it says"}))
            with contextlib.suppress(ssl.SSLError):
                peer.until_closed()

        self.ended(self.against(script, "large", env=self.trust), 5, "it says")

    def test_not_trusted(self) -> None:
        """No files are sent to a server whose certificate is not trusted."""
        self.fill("f", b"x")

        def script(peer: Peer) -> None:
            raise AssertionError("a request was made")

        with contextlib.suppress(ssl.SSLError), self.serving(script):
            result = self.put("f")
        self.ended(result, 6, "is not trusted", "--ca FILE or CHATFILES_CA")

    def test_ca(self) -> None:
        """``--ca`` names authorities to trust; a file that holds none is refused."""
        content = self.fill("f", b"content")
        self.fill("empty.pem", b"")
        authority = self.path("authority.pem")
        self.ended(self.against(self.take(stored(content)), "--ca", authority, "f"), 0)
        given = {"CHATFILES_CA": authority}
        self.ended(self.against(self.take(stored(content)), "f", env=given), 0)
        for name in ("empty.pem", "none.pem"):
            result = self.put("--ca", self.path(name), "f")
            self.ended(result, 2, f"{name}' is no file of certificates in PEM format")


class TerminalTests(test_terminal.TerminalCase, PutCase):
    """Output on a terminal."""

    def test_bar(self) -> None:
        """A progress bar over all files is shown, then their paths and a summary."""
        a, b = self.fill("a", b"x" * 3000), self.fill("b", b"y" * 2000)
        words = ("put", "--token-file", "token", "a", "b", WORKSPACE)
        with self.serving(self.take(stored(a, b))):
            status, written = self.run_on_terminal(*words)
        self.assertEqual(status, 0, written)
        self.assertIn("2 files:   0%|", written)
        self.assertIn("/5.", written)
        lines = written.splitlines()
        self.assertTrue(lines[-3].endswith(f"{KEPT}/0-f"), written)
        self.assertEqual(lines[-2], f"{KEPT}/1-f")
        self.assertRegex(lines[-1], r"^stored 2 files \(5\.00kB in \d+\.\d s\)$")

    def test_quiet(self) -> None:
        """``-q`` prints only the path."""
        content = self.fill("f\x1b", b"x")
        words = ("put", "--token-file", "token", "-q", "f\x1b", WORKSPACE)
        with self.serving(self.take(stored(content))):
            self.assertEqual(self.run_on_terminal(*words), (0, f"{KEPT}/0-f\n"))

    def test_signals(self) -> None:
        """SIGINT and SIGTERM abort the upload at once; the server receives an incomplete body."""
        self.fill("large\x1b", bytes(LARGE))
        for signum, expected in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            self.begun.clear()

            def script(peer: Peer) -> None:
                peer.read_head()
                peer.send(CONTINUE)
                peer.exactly(1_000_000)
                self.begun.set()
                self.go_on.wait()
                self.assertRaises((CutShort, ConnectionError), peer.exactly, LARGE)

            self.go_on.clear()
            words = ("put", "--token-file", "token", "large\x1b", WORKSPACE)
            with self.serving(script):
                status, written = self.run_on_terminal(*words, signum=signum)
                self.go_on.set()
            self.assertEqual(status, expected, written)
            self.assertIn("chatfiles: interrupted", written)
            self.assertIn(r"large\x1b:", written)
            self.assertNotIn("Traceback", written)


class MemoryTests(PutCase):
    """Memory of an upload."""

    def test_flat(self) -> None:
        """A file of 256 MiB is sent by a process that may use only 150 MiB of memory."""
        size = 256 * 1024 * 1024
        with open(self.path("sparse"), "wb") as file:
            file.truncate(size)
        code = (
            "import resource, sys\n"
            "resource.setrlimit(resource.RLIMIT_DATA, (150 << 20, 150 << 20))\n"
            "from chatfiles.cli import main\n"
            "main()\n"
        )
        taken: list[int] = []

        def script(peer: Peer) -> None:
            if peer.read_head().startswith("OPTIONS"):
                peer.send(said("404 Not Found", {}))
                return
            peer.send(CONTINUE)
            left = int(peer.field("Content-Length") or 0)
            while left:
                left -= len(peer.exactly(min(left, 1 << 20)))
            taken.append(1)
            peer.send(said("200 OK", {"files": []}))

        environment = {k: v for k, v in os.environ.items() if not k.startswith("CHATFILES_")}
        with self.serving(script), self.serving(script):
            done = subprocess.run(
                [sys.executable, "-c", code, "put", "--token-file", "token", "sparse", WORKSPACE],
                cwd=self.directory,
                env=environment
                | {"PYTHONPATH": test_terminal.ROOT, "CHATFILES_PLATFORM": self.url},
                capture_output=True,
                text=True,
                check=False,
            )
        self.assertEqual((done.returncode, taken), (7, [1]), done.stderr)
        self.assertIn("it names 0 files", done.stderr)
