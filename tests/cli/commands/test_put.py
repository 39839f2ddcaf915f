"""
``chatfiles put``: what is sent, what is believed, and how it says so when it is not.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import SkipTest

from chatfiles.cli.transfers import upload
from tests.cli.cli_stub import TOKEN, WORKSPACE, answer, counted, said
from tests.cli.terminal import test_terminal
from tests.cli.upload_peer import CONTINUE, CutShort, Peer, PutCase, Script, stored
from tests.platform.upstream.test_dialer import make_certificate

#: More than the sockets of both ends hold.
LARGE = 24 * 1024 * 1024
KEPT = "/workspace/.molecule/chat-uploads"


@contextlib.contextmanager
def stdin(descriptor: int) -> Iterator[None]:
    """Make *descriptor* our standard input for a while."""
    before = os.dup(0)
    os.dup2(descriptor, 0)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


@contextlib.contextmanager
def pipe(*content: bytes) -> Iterator[int]:
    """:return: the end of a pipe that holds *content* and is closed behind it."""
    reader, writer = os.pipe()
    os.write(writer, b"".join(content))
    os.close(writer)
    yield reader
    os.close(reader)


class SendingTests(PutCase):
    """What goes over the wire, and what is printed."""

    def test_request(self) -> None:
        """One form with a length, the token as a bearer; the path is printed and nothing else."""
        content = self.fill("a b.txt", b"hello")
        result = self.against(self.take(stored(content)), "a b.txt")
        self.ended(result, 0)
        self.assertEqual(result.stdout, f"{KEPT}/0-f\n")
        self.assertEqual(result.stderr, "")
        head = self.peer.head.splitlines()
        self.assertEqual(head[0], f"POST /workspaces/{WORKSPACE}/chat/uploads HTTP/1.1")
        self.assertEqual(self.peer.field("Authorization"), f"Bearer {TOKEN}")
        self.assertEqual(self.peer.field("Content-Length"), str(len(self.body)))
        self.assertIsNone(self.peer.field("Transfer-Encoding"))
        [(part, sent)] = self.parts()
        self.assertEqual(sent, content)
        self.assertEqual(
            part,
            'Content-Disposition: form-data; name="files"; filename="a b.txt"\r\n'
            "Content-Type: text/plain",
        )

    def test_several(self) -> None:
        """Files of any size go up together, and their paths are printed in their order."""
        os.mkdir(self.path("d"))
        contents = [
            self.fill("empty", b""),
            self.fill("d/one", b"1"),
            self.fill("large", os.urandom(3_000_000)),
        ]
        result = self.against(self.take(stored(*contents)), "empty", "d/one", "large")
        self.ended(result, 0)
        self.assertEqual([content for _, content in self.parts()], contents)
        self.assertIn('filename="one"', self.parts()[1][0])
        self.assertEqual(result.stdout, "".join(f"{KEPT}/{i}-f\n" for i in range(3)))

    def test_json(self) -> None:
        """``--json`` prints the whole answer, in ASCII."""
        content = self.fill("f", b"x")
        result = self.against(self.take(stored(content, originalName="é\x1b")), "--json", "f")
        self.ended(result, 0)
        self.assertTrue(result.stdout.isascii())
        [entry] = json.loads(result.stdout)["files"]
        self.assertEqual((entry["originalName"], entry["size"]), ("é\x1b", 1))

    def test_standard_input(self) -> None:
        """A pipe is sent in chunks, under the name that it is given."""
        with pipe(b"from ", b"a pipe") as reader, stdin(reader):
            result = self.against(self.take(stored(b"from a pipe")), "-", "--name", "p.csv")
        self.ended(result, 0)
        self.assertEqual(self.peer.field("Transfer-Encoding"), "chunked")
        self.assertIsNone(self.peer.field("Content-Length"))
        [(part, sent)] = self.parts()
        self.assertEqual(sent, b"from a pipe")
        self.assertIn('filename="p.csv"\r\nContent-Type: text/csv', part)

    def test_standard_input_is_a_file(self) -> None:
        """A file as standard input has a length: from where it stands, so that a shell may read."""
        self.fill("f", b"line 1\nline 2\n")
        with open(self.path("f"), "rb", buffering=0) as file, stdin(file.fileno()):
            file.seek(7)
            result = self.against(self.take(stored(b"line 2\n")), "-")
        self.ended(result, 0)
        self.assertIsNotNone(self.peer.field("Content-Length"))
        [(part, sent)] = self.parts()
        self.assertEqual(sent, b"line 2\n")
        self.assertIn('filename="stdin"', part)

    def test_pipe_by_name(self) -> None:
        """What a shell makes of ``<(…)`` is a file too, between others."""
        a, b = self.fill("a", b"a"), self.fill("b", b"b")
        with pipe(b"piped") as reader:
            answer_ = self.take(stored(a, b"piped", b))
            result = self.against(answer_, "a", f"/dev/fd/{reader}", "b")
        self.ended(result, 0)
        self.assertEqual([content for _, content in self.parts()], [a, b"piped", b])

    def test_empty_standard_input(self) -> None:
        """Nothing is a file of no bytes."""
        with pipe() as reader, stdin(reader):
            self.ended(self.against(self.take(stored(b"")), "-"), 0)
        self.assertEqual([content for _, content in self.parts()], [b""])

    def test_names(self) -> None:
        """``--name`` is for standard input, or for the only file; a name may be any bytes."""
        content = self.fill("f", b"")
        with pipe() as reader, stdin(reader):
            result = self.against(self.take(stored(content, b"")), "f", "-", "--name", "x")
        self.ended(result, 0)
        heads = [head for head, _ in self.parts()]
        self.assertIn('; filename="f"\r\n', heads[0])
        self.assertIn('; filename="x"\r\n', heads[1])
        self.ended(self.against(self.take(stored(content)), "f", "--name", 'q"\udcff'), 0)
        self.assertIn(b'filename="q%22\xff"', self.body)

    def test_asks_first(self) -> None:
        """A large body, or one without a length, is not sent before it is asked for."""
        self.patch(upload, "CONTINUE_TIMEOUT", 10**6)
        content = self.fill("large", bytes(LARGE))
        for words in (["large"], ["-"]):
            unread: list[bytes] = []

            def refuse(peer: Peer, unread: list[bytes] = unread) -> None:
                peer.read_head()
                peer.send(said("413 Too Large", {"error": "too large"}))
                unread.append(peer.until_closed())

            with pipe(b"x") as reader, stdin(reader):
                self.ended(self.against(refuse, *words), 5, "too large")
            self.assertEqual(self.peer.field("Expect"), "100-continue")
            self.assertEqual(unread, [b""])
        self.ended(self.against(self.take(stored(content)), "large"), 0)
        self.fill("small", b"x")
        self.ended(self.against(self.take(stored(b"x")), "small"), 0)
        self.assertIsNone(self.peer.field("Expect"))

    def test_not_asked(self) -> None:
        """A server that does not know the question gets the body a little later all the same."""
        self.patch(upload, "CONTINUE_TIMEOUT", 0.01)
        content = self.fill("large", os.urandom(2_000_000))

        def script(peer: Peer) -> None:
            peer.read_head()
            self.body = peer.read_body()
            peer.send(stored(content))

        self.ended(self.against(script, "large"), 0)
        self.assertEqual([sent for _, sent in self.parts()], [content])

    def test_success_before_the_end_of_the_framing(self) -> None:
        """A server that stops at the closing delimiter may answer before the last chunk."""

        def script(peer: Peer) -> None:
            peer.read_head()
            peer.send(CONTINUE)
            while not self.body.endswith(b"--\r\n"):
                self.body += peer.exactly(1)
            peer.send(stored(b"piped"))

        with pipe(b"piped") as reader, stdin(reader):
            self.ended(self.against(script, "-"), 0)

    def test_more_files_than_one_would_open(self) -> None:
        """64 files, the most that a platform takes."""
        names = [f"f{index}" for index in range(64)]
        contents = [self.fill(name, name.encode()) for name in names]
        self.ended(self.against(self.take(stored(*contents)), *names), 0)
        self.assertEqual([sent for _, sent in self.parts()], contents)


class RefusedTests(PutCase):
    """An answer that comes early is heard, whatever becomes of the connection."""

    def refuse(self, wire: bytes, taken: int, *, wait: bool) -> Script:
        """
        :return: a script that takes *taken* bytes of a body and says *wire*; then it waits for us
            to go, or closes at once, which resets the connection.
        """

        def script(peer: Peer) -> None:
            peer.read_head()
            peer.send(CONTINUE)
            peer.exactly(taken)
            peer.send(wire)
            if wait:
                peer.until_closed()

        return script

    def test_while_sending(self) -> None:
        """No more is sent once the answer is there, though the server does not close."""
        self.fill("large", bytes(LARGE))
        wire = said("413 X", {"error": "it says", "code": "request_too_large", "request_id": "r"})
        for taken in (0, 1, 3_000_000):
            sent: list[int] = []

            def script(peer: Peer, taken: int = taken, sent: list[int] = sent) -> None:
                peer.read_head()
                peer.send(CONTINUE)
                peer.exactly(taken)
                peer.send(wire)
                sent.append(len(peer.until_closed()))

            result = self.against(script, "large")
            self.ended(result, 5, "chatfiles: it says (request_too_large, request r)")
            self.assertEqual(result.stdout, "")
            self.assertLess(sent[0], LARGE - taken)

    def test_reset(self) -> None:
        """The answer is read although the connection was reset behind it."""
        self.fill("large", bytes(LARGE))
        for status, code in ((401, 4), (403, 4), (404, 3), (413, 5), (415, 5), (502, 6), (503, 6)):
            wire = said(f"{status} X", {"error": "it says", "request_id": "r"})
            result = self.against(self.refuse(wire, 1_000_000, wait=False), "large")
            self.ended(result, code, f"chatfiles: it says (HTTP {status}, request r)")
            self.assertNotIn("pipe", result.stderr)

    def test_without_reading(self) -> None:
        """Also by a server that has read nothing but the head, and of a small body too."""
        self.fill("small", b"x" * 1000)

        def script(peer: Peer) -> None:
            peer.read_head()
            peer.send(said("401 X", {"error": "no"}))

        self.ended(self.against(script, "small"), 4, "no (HTTP 401)", "hint: is it for this")

    def test_while_we_wait_for_a_pipe(self) -> None:
        """A pipe that gives nothing does not keep us from hearing that it is over."""
        reader, writer = os.pipe()
        os.write(writer, b"beginning")
        wire = said("408 X", {"error": "too slow"})
        try:
            with stdin(reader):
                result = self.against(self.refuse(wire, 100, wait=True), "-")
        finally:
            os.close(reader)
            os.close(writer)
        self.ended(result, 6, "too slow")

    def test_after_other_interim_answers(self) -> None:
        """Interim answers are no answers, in whatever pieces they come."""
        content = self.fill("large", bytes(2_000_000))

        def script(peer: Peer) -> None:
            peer.read_head()
            for byte in b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + CONTINUE:
                peer.send(bytes([byte]))
            self.body = peer.read_body()
            peer.send(stored(content))

        self.ended(self.against(script, "large"), 0)

    def test_hints(self) -> None:
        """What only an upload can meet has a hint; what is known better keeps its own."""
        self.fill("f", b"x")
        for wire, hint in (
            (said("413 X", {"error": "e"}), f"hint: `curl {self.url}/uploads/limits` tells"),
            (said("415 X", {"error": "e"}), "hint: is --platform the platform's own address?"),
            (said("507 X", {"error": "no space left"}), "hint: free some space"),
            (said("507 X", {"error": "e"}, "Retry-After: 5"), "hint: try again in 5 seconds"),
            (said("403 X", {"error": "e", "code": "insufficient_scope"}), "token create --scope"),
            (said("404 X", {"error": "workspace not found"}), "hint: `chatfiles workspace list`"),
        ):
            result = self.against(self.take(wire), "f")
            self.assertIn(hint, result.stderr)
            self.assertEqual(result.stderr.count("hint:"), 1)

    def test_redirect(self) -> None:
        """Neither token nor files go where a redirect points."""
        self.fill("f", b"x")
        wire = answer("307 X", f"Location: {self.url}/x", "Content-Length: 0")
        self.ended(self.against(self.take(wire), "f"), 7, "redirects to", "is not followed")
        self.assert_not_asked()


class CutTests(PutCase):
    """Exit status 7: it is not known to have been stored, and the message says how far it came."""

    def test_cut(self) -> None:
        """A connection that ends without an answer, by a reset or not."""
        self.fill("large", bytes(LARGE))
        for taken in (0, 2_000_000):

            def leave(peer: Peer, taken: int = taken) -> None:
                peer.read_head()
                peer.send(CONTINUE)
                peer.exactly(taken)

            def hang_up(peer: Peer, taken: int = taken) -> None:
                peer.read_head()
                peer.send(CONTINUE)
                peer.exactly(taken)
                peer.socket.shutdown(socket.SHUT_WR)
                peer.until_closed()

            for script in (leave, hang_up):
                result = self.against(script, "large")
                self.ended(result, 7, "chatfiles: the upload was cut after ")
                self.assertRegex(result.stderr, r"after \d+ of 251660\d\d bytes\nhint: ")

    def test_stalled(self) -> None:
        """A server that takes nothing is given up after the timeout."""
        self.fill("large", bytes(LARGE))

        def script(peer: Peer) -> None:
            peer.read_head()
            peer.send(CONTINUE)
            peer.exactly(10)
            done.wait(20)

        done = threading.Event()
        with self.serving(script):
            result = self.put("large", "--timeout", "0.1")
            done.set()
        self.ended(result, 7, "the upload stalled after")

    def test_no_answer(self) -> None:
        """Once all has been sent nobody knows, and that is said."""
        self.fill("f", b"x")
        result = self.against(self.take(), "f")
        self.ended(result, 7, "everything was sent, but the connection was cut", "store them twice")

        def silent(peer: Peer) -> None:
            self.take()(peer)
            peer.until_closed()

        result = self.against(silent, "f", "--timeout", "0.05")
        self.ended(result, 7, "everything was sent, but no answer came", "store them twice")

    def test_half_an_answer(self) -> None:
        """An answer that is cut proves nothing."""
        content = self.fill("f", b"x")
        wire = stored(content)
        self.ended(self.against(self.take(wire[:-1]), "f"), 7, "cut after")
        self.ended(self.against(self.take(wire[:20]), "f"), 7)

    def test_too_early(self) -> None:
        """A success that comes before the files have been sent is none."""
        content = self.fill("large", bytes(LARGE))

        def script(peer: Peer) -> None:
            peer.read_head()
            peer.send(CONTINUE)
            peer.exactly(1000)
            peer.send(stored(content))
            peer.until_closed()

        self.ended(self.against(script, "large"), 7, "it came before the files had been sent")

    def test_not_http(self) -> None:
        """Something that is no web server is said to be none."""
        self.fill("f", b"x")
        self.ended(self.against(self.take(b"220 mail ESMTP\r\n"), "f"), 7, "does not speak HTTP")
        self.fill("large", bytes(LARGE))

        def greet(peer: Peer) -> None:
            peer.send(b"220 mail ESMTP\r\n")
            peer.until_closed()

        self.ended(self.against(greet, "large"), 7, "does not speak HTTP")

    def test_unreachable(self) -> None:
        """Nobody there: the same words as everywhere."""
        self.fill("f", b"x")
        self._listener.close()
        self.ended(self.put("f"), 6, f"cannot reach the platform at {self.url}", "--platform")


class BelievedTests(PutCase):
    """What the platform says is held against what was sent."""

    def untrusted(self, wire: bytes, *texts: str) -> None:
        self.fill("f", b"content")
        result = self.against(self.take(wire), "f")
        self.ended(result, 7, *texts)
        self.assertEqual(result.stdout, "")

    def test_differs(self) -> None:
        """Other bytes than were sent: which file, what differs, and what not to use."""
        digest = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
        text = f"f was not stored as it was sent: its SHA-256 is {digest}, not 00ff"
        self.untrusted(stored(b"content", sha256="00ff"), text, f"do not use {KEPT}/0-f")
        self.untrusted(stored(b"content", size=6), "7 bytes were sent, 6 were stored")
        for odd in (None, "7", True, 7.5):
            self.untrusted(stored(b"content", size=odd), "f was not stored as it was sent")
        self.untrusted(stored(b"content", sha256=7), "f was not stored as it was sent")

    def test_which_file(self) -> None:
        """Each file is compared with its own entry."""
        a, b = self.fill("a", b"aaa"), self.fill("b", b"bbb")
        self.ended(self.against(self.take(stored(b, a)), "a", "b"), 7, "a was not stored as")
        self.ended(self.against(self.take(stored(a, a)), "a", "b"), 7, "b was not stored as")

    def test_not_the_contract(self) -> None:
        """Whatever does not say where each file is, is not believed."""
        self.untrusted(stored(), "it names 0 files, but 1 were sent")
        self.untrusted(stored(b"content", b"content"), "it names 2 files, but 1 were sent")
        for uri in (None, 7, "", "/workspace/x", "http://elsewhere/x", "workspace:x"):
            self.untrusted(stored(b"content", uri=uri), "it does not say where a file is")
        for body in (b"", b"{}", b"[]", b"7", b"<html>", b'{"files": {}}', b'{"files": [1]}'):
            self.untrusted(counted(body), "the answer cannot be trusted")
        self.untrusted(counted(b" " * 1_100_000), "it is too long")
        self.untrusted(answer("204 No Content"), "status 204")

    def test_without_digest(self) -> None:
        """Platforms in the field send no digest: sizes are compared, and that is said."""
        content = self.fill("f", b"x")
        wire = stored(content, sha256=None)
        result = self.against(self.take(wire), "f")
        self.ended(result, 0, "chatfiles: warning: no SHA-256 came back")
        self.assertEqual(result.stdout, f"{KEPT}/0-f\n")
        self.assertEqual(self.against(self.take(wire), "f", "-q").stderr, "")
        self.untrusted(stored(b"other", sha256=None), "7 bytes were sent, 5 were stored")

    def test_cannot_steer(self) -> None:
        """One line per file, whatever a server calls it."""
        content = self.fill("f", b"x")
        wire = stored(content, uri="workspace:/a\n/b\x1b[2J")
        self.assertEqual(self.against(self.take(wire), "f").stdout, "/a\\n/b\\x1b[2J\n")


class LocalTests(PutCase):
    """Exit status 8: it is this machine's files that are the matter."""

    def test_before_anything_is_sent(self) -> None:
        """One file that cannot be read is enough to send none."""
        self.fill("f", b"x")
        os.mkdir(self.path("d"))
        for words, text in (
            (["f", "missing"], "cannot read missing: No such file or directory"),
            (["d", "f"], "cannot read d: Is a directory"),
            (["f/", "f"], "cannot read f/: Not a directory"),
            ([""], "cannot read : No such file or directory"),
        ):
            self.ended(self.put(*words), 8, f"chatfiles: {text}\n")
        self.assertIn("hint: pack it: tar -cz", self.put("d").stderr)
        self.assert_not_asked()

    def test_no_permission(self) -> None:
        """A file of somebody else's is said to be closed to us."""
        if os.geteuid() == 0:
            raise SkipTest("root may read everything")
        self.fill("f", b"x")
        os.chmod(self.path("f"), 0)
        self.ended(self.put("f"), 8, "cannot read f: Permission denied")
        self.assert_not_asked()

    def test_no_standard_input(self) -> None:
        """A standard input that is closed is an error like another."""
        before = os.dup(0)
        os.close(0)
        try:
            result = self.put("-")
        finally:
            os.dup2(before, 0)
            os.close(before)
        self.ended(result, 8, "cannot read standard input: Bad file descriptor")

    def test_changed_meanwhile(self) -> None:
        """A file that shrinks or grows under way: the server sees a cut, we see why."""
        path = self.path("large")

        def shrink() -> None:
            os.truncate(path, LARGE - 1)

        def grow() -> None:
            os.truncate(path, LARGE + 1)

        def rewrite() -> None:
            os.utime(path, (1, 1))

        for change, how in ((shrink, "shorter"), (grow, "longer"), (rewrite, "been written to")):
            self.fill("large", bytes(LARGE))

            def script(peer: Peer) -> None:
                peer.read_head()
                change()  # noqa: B023
                peer.send(CONTINUE)
                self.assertRaises(CutShort, peer.read_body)

            result = self.against(script, "large")
            self.ended(result, 8, "large changed while it was being sent: it has ", how, "hint: ")
            self.assertEqual(result.stdout, "")

    def test_removed_meanwhile(self) -> None:
        """A file that is removed or replaced is sent as it was."""
        content = self.fill("large", os.urandom(2_000_000))

        def script(peer: Peer) -> None:
            os.unlink(self.path("large"))
            self.take(stored(content))(peer)

        self.ended(self.against(script, "large"), 0)

    def test_cannot_be_read_any_more(self) -> None:
        """A disk that fails under way breaks the upload off."""

        def script(peer: Peer) -> None:
            peer.read_head()
            self.assertRaises(CutShort, peer.read_body)

        with open("/proc/self/mem", "rb") as unreadable:  # there is nothing at its address 0
            result = self.against(script, f"/dev/fd/{unreadable.fileno()}")
        self.ended(result, 8, "cannot read /dev/fd/", "Input/output error")

    def test_says_that_it_is_empty(self) -> None:
        """A file of the kernel's has no size and yet content: it does not become an empty file."""

        def script(peer: Peer) -> None:
            peer.read_head()
            self.assertRaises(CutShort, peer.read_body)

        result = self.against(script, "/proc/version")
        self.ended(result, 8, "/proc/version changed", "through a pipe: cat FILE | chatfiles put -")


class UsageTests(PutCase):
    """Exit status 2, before anything is opened."""

    def test_usage(self) -> None:
        """What makes no sense is not sent."""
        self.fill("f", b"x")
        for words, text in (
            (("-", "f", "-"), "can be sent only once"),
            (("f", "f", "--name", "x"), "--name is for standard input"),
            (("f", "--name", ""), "--name must not be empty"),
        ):
            self.ended(self.put(*words), 2, text)
        self.ended(self.invoke("put", WORKSPACE, "f"), 2, "'f' is not an id")
        self.ended(self.invoke("put", WORKSPACE), 2, "Missing argument 'FILE...'")
        self.ended(self.invoke("put", "f", WORKSPACE), 4, "no token given")
        self.assert_not_asked()

    def test_help(self) -> None:
        """The help has examples and every exit status; the overview names the command."""
        text = self.invoke("put", "--help").output
        for part in (
            "FILE... WORKSPACE",
            "Examples:\n",
            "  chatfiles put ",
            "Exit status:",
            "--na",
        ):
            self.assertIn(part, text)
        self.assertIn("\n  put ", self.invoke("--help").output)


class TlsTests(PutCase):
    """The same over TLS, whose records say less about what is readable."""

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
        """A large body arrives whole; what TLS itself says meanwhile is no answer."""
        content = self.fill("large", os.urandom(5_000_000))
        result = self.against(self.take(stored(content)), "large", env=self.trust)
        self.ended(result, 0)
        self.assertEqual([sent for _, sent in self.parts()], [content])

    def test_refused(self) -> None:
        """An early answer is heard here too."""
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
        """A certificate that nobody vouches for gets no files."""
        self.fill("f", b"x")

        def script(peer: Peer) -> None:
            raise AssertionError("a request was made")

        with contextlib.suppress(ssl.SSLError), self.serving(script):
            result = self.put("f")
        self.ended(result, 6, "is not trusted", "SSL_CERT_FILE")


class TerminalTests(test_terminal.TerminalCase, PutCase):
    """Where somebody looks."""

    def test_bar(self) -> None:
        """A bar over all files, their paths, and one line at the end."""
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
        """``-q`` prints the path alone."""
        content = self.fill("f\x1b", b"x")
        words = ("put", "--token-file", "token", "-q", "f\x1b", WORKSPACE)
        with self.serving(self.take(stored(content))):
            self.assertEqual(self.run_on_terminal(*words), (0, f"{KEPT}/0-f\n"))

    def test_signals(self) -> None:
        """Ctrl-C ends it at once; the server sees a cut."""
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
    """Files are not held in memory."""

    def test_flat(self) -> None:
        """256 MiB through a process that may not have as much for itself."""
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
            peer.read_head()
            peer.send(CONTINUE)
            left = int(peer.field("Content-Length") or 0)
            while left:
                left -= len(peer.exactly(min(left, 1 << 20)))
            taken.append(1)
            peer.send(said("200 OK", {"files": []}))

        environment = {k: v for k, v in os.environ.items() if not k.startswith("CHATFILES_")}
        with self.serving(script):
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
