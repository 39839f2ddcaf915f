"""
``chatfiles put``: what it sends, which responses it accepts, and the messages for those that it
refuses.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator

from chatfiles.client.blocking import driver
from tests.cli.cli_stub import TOKEN, WORKSPACE, answer, counted, said
from tests.cli.upload_peer import CONTINUE, KEPT, LARGE, Peer, PutCase, Script, stored
from tests.support.patience import PATIENCE


@contextlib.contextmanager
def stdin(descriptor: int) -> Iterator[None]:
    """Make *descriptor* this process's standard input for a while."""
    before = os.dup(0)
    os.dup2(descriptor, 0)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


@contextlib.contextmanager
def pipe(*content: bytes) -> Iterator[int]:
    """:return: the reading end of a pipe that contains *content*; its writing end is closed."""
    reader, writer = os.pipe()
    os.write(writer, b"".join(content))
    os.close(writer)
    yield reader
    os.close(reader)


class SendingTests(PutCase):
    """What is sent over the wire, and what is printed."""

    def test_request(self) -> None:
        """
        One form with a length is sent, with the token as a bearer token; only the path is printed.
        """
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
        """Several files are sent in one form; their paths are printed in the same order."""
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
        """``--json`` prints the complete response, in ASCII."""
        content = self.fill("f", b"x")
        result = self.against(self.take(stored(content, originalName="é\x1b")), "--json", "f")
        self.ended(result, 0)
        self.assertTrue(result.stdout.isascii())
        [entry] = json.loads(result.stdout)["files"]
        self.assertEqual((entry["originalName"], entry["size"]), ("é\x1b", 1))

    def test_standard_input(self) -> None:
        """A pipe is sent in chunks, under the name of ``--name``."""
        with pipe(b"from ", b"a pipe") as reader, stdin(reader):
            result = self.against(self.take(stored(b"from a pipe")), "-", "--name", "p.csv")
        self.ended(result, 0)
        self.assertEqual(self.peer.field("Transfer-Encoding"), "chunked")
        self.assertIsNone(self.peer.field("Content-Length"))
        [(part, sent)] = self.parts()
        self.assertEqual(sent, b"from a pipe")
        self.assertIn('filename="p.csv"\r\nContent-Type: text/csv', part)

    def test_standard_input_is_a_file(self) -> None:
        """
        A file as standard input has a length, and is sent from its current offset: a shell may have
        read its beginning.
        """
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
        """The pipe of a shell's ``<(…)`` can be sent between other files."""
        a, b = self.fill("a", b"a"), self.fill("b", b"b")
        with pipe(b"piped") as reader:
            answer_ = self.take(stored(a, b"piped", b))
            result = self.against(answer_, "a", f"/dev/fd/{reader}", "b")
        self.ended(result, 0)
        self.assertEqual([content for _, content in self.parts()], [a, b"piped", b])

    def test_empty_standard_input(self) -> None:
        """Empty standard input is sent as an empty file."""
        with pipe() as reader, stdin(reader):
            self.ended(self.against(self.take(stored(b"")), "-"), 0)
        self.assertEqual([content for _, content in self.parts()], [b""])

    def test_names(self) -> None:
        """``--name`` names standard input or the only file; a name may be any bytes."""
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
        """A large body, or one without a length, is sent only after ``100 Continue``."""
        self.patch(driver, "CONTINUE_TIMEOUT", 10**6)
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
        """Without ``100 Continue`` the body is sent after a short timeout."""
        self.patch(driver, "CONTINUE_TIMEOUT", 0.01)
        content = self.fill("large", os.urandom(2_000_000))

        def script(peer: Peer) -> None:
            peer.read_head()
            self.body = peer.read_body()
            peer.send(stored(content))

        self.ended(self.against(script, "large"), 0)
        self.assertEqual([sent for _, sent in self.parts()], [content])

    def test_success_before_the_end_of_the_framing(self) -> None:
        """
        A success after the closing delimiter is accepted although the last chunk has not been sent.
        """

        def script(peer: Peer) -> None:
            peer.read_head()
            peer.send(CONTINUE)
            while not self.body.endswith(b"--\r\n"):
                self.body += peer.exactly(1)
            peer.send(stored(b"piped"))

        with pipe(b"piped") as reader, stdin(reader):
            self.ended(self.against(script, "-"), 0)

    def test_more_files_than_one_would_open(self) -> None:
        """64 files, the maximum of a platform, are sent in one form."""
        names = [f"f{index}" for index in range(64)]
        contents = [self.fill(name, name.encode()) for name in names]
        self.ended(self.against(self.take(stored(*contents)), *names), 0)
        self.assertEqual([sent for _, sent in self.parts()], contents)


class RefusedTests(PutCase):
    """Early responses: they are read, whatever happens to the connection."""

    def refuse(self, wire: bytes, taken: int, *, wait: bool) -> Script:
        """
        :return: a script that reads *taken* bytes of a body and sends *wire*; then it waits until
            the client closes, or closes at once, which resets the connection.
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
        """
        Sending stops when the response arrives, even if the server does not close the connection.
        """
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
        """The response is read although the connection is reset after it."""
        self.fill("large", bytes(LARGE))
        for status, code in ((401, 4), (403, 4), (404, 3), (413, 5), (415, 5), (502, 6), (503, 6)):
            wire = said(f"{status} X", {"error": "it says", "request_id": "r"})
            result = self.against(self.refuse(wire, 1_000_000, wait=False), "large")
            self.ended(result, code, f"chatfiles: it says (HTTP {status}, request r)")
            self.assertNotIn("pipe", result.stderr)

    def test_without_reading(self) -> None:
        """
        The response is read even if the server has read only the headers and the body is small.
        """
        self.fill("small", b"x" * 1000)

        def script(peer: Peer) -> None:
            peer.read_head()
            peer.send(said("401 X", {"error": "no"}))

        self.ended(self.against(script, "small"), 4, "no (HTTP 401)", "hint: is it for this")

    def test_while_we_wait_for_a_pipe(self) -> None:
        """A response is read while the upload waits for a pipe."""
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
        """Interim responses are not taken for the final one, in whatever pieces they arrive."""
        content = self.fill("large", bytes(2_000_000))

        def script(peer: Peer) -> None:
            peer.read_head()
            for byte in b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + CONTINUE:
                peer.send(bytes([byte]))
            self.body = peer.read_body()
            peer.send(stored(content))

        self.ended(self.against(script, "large"), 0)

    def test_hints(self) -> None:
        """
        Errors that only an upload can have get a hint; more specific errors keep their own hint.
        """
        self.fill("f", b"x")
        for wire, hint in (
            (said("413 X", {"error": "e"}), f"hint: `curl {self.url}/uploads/limits` shows"),
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
        """A redirect is not followed: neither the token nor the files are sent to its target."""
        self.fill("f", b"x")
        wire = answer("307 X", f"Location: {self.url}/x", "Content-Length: 0")
        self.ended(self.against(self.take(wire), "f"), 7, "redirects to", "is not followed")
        self.assert_not_asked()


class CutTests(PutCase):
    """
    Uploads that are not known to be stored: exit status 7, and the message says how much was sent.
    """

    def test_cut(self) -> None:
        """A connection that ends without a response, by a reset or a close, is reported."""
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
                self.ended(result, 7, "chatfiles: the upload was interrupted after ")
                self.assertRegex(result.stderr, r"after \d+ of 16777\d\d\d bytes\nhint: ")

    def test_stalled(self) -> None:
        """An upload to a server that stops reading is aborted after the timeout."""
        self.fill("large", bytes(LARGE))

        def script(peer: Peer) -> None:
            peer.read_head()
            peer.send(CONTINUE)
            peer.exactly(10)
            done.wait(PATIENCE)

        done = threading.Event()
        with self.serving(script):
            result = self.put("large", "--timeout", "0.1")
            done.set()
        self.ended(result, 7, "the upload stalled after")

    def test_no_answer(self) -> None:
        """
        If everything was sent but there is no response, the message says that the files may have
        been stored.
        """
        self.fill("f", b"x")
        result = self.against(self.take(), "f")
        self.ended(
            result, 7, "everything was sent, but the connection was interrupted", "store them twice"
        )

        def silent(peer: Peer) -> None:
            self.take()(peer)
            peer.until_closed()

        result = self.against(silent, "f", "--timeout", "0.05")
        self.ended(result, 7, "everything was sent, but no response came", "store them twice")

    def test_half_an_answer(self) -> None:
        """An interrupted response proves nothing."""
        content = self.fill("f", b"x")
        wire = stored(content)
        self.ended(self.against(self.take(wire[:-1]), "f"), 7, "interrupted after")
        self.ended(self.against(self.take(wire[:20]), "f"), 7)

    def test_too_early(self) -> None:
        """A success that is received before all files have been sent is refused."""
        content = self.fill("large", bytes(LARGE))

        def script(peer: Peer) -> None:
            peer.read_head()
            peer.send(CONTINUE)
            peer.exactly(1000)
            peer.send(stored(content))
            peer.until_closed()

        self.ended(self.against(script, "large"), 7, "it came before the files had been sent")

    def test_not_http(self) -> None:
        """A server that does not speak HTTP is reported as such."""
        self.fill("f", b"x")
        self.ended(self.against(self.take(b"220 mail ESMTP\r\n"), "f"), 7, "does not speak HTTP")
        self.fill("large", bytes(LARGE))

        def greet(peer: Peer) -> None:
            peer.send(b"220 mail ESMTP\r\n")
            peer.until_closed()

        self.ended(self.against(greet, "large"), 7, "does not speak HTTP")

    def test_unreachable(self) -> None:
        """An unreachable platform is reported in the same words as by other commands."""
        self.fill("f", b"x")
        self._listener.close()
        self.ended(self.put("f"), 6, f"cannot reach the platform at {self.url}", "--platform")


class BelievedTests(PutCase):
    """The response is compared with what was sent."""

    def untrusted(self, wire: bytes, *texts: str) -> None:
        self.fill("f", b"content")
        result = self.against(self.take(wire), "f")
        self.ended(result, 7, *texts)
        self.assertEqual(result.stdout, "")

    def test_differs(self) -> None:
        """
        If other bytes were stored, the message names the file, the difference, and the path not to
        use.
        """
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
        """A response that does not say where each file is stored is refused."""
        self.untrusted(stored(), "it names 0 files, but 1 were sent")
        self.untrusted(stored(b"content", b"content"), "it names 2 files, but 1 were sent")
        for uri in (None, 7, "", "/workspace/x", "http://elsewhere/x", "workspace:x"):
            self.untrusted(stored(b"content", uri=uri), "it does not say where a file is")
        for body in (b"", b"{}", b"[]", b"7", b"<html>", b'{"files": {}}', b'{"files": [1]}'):
            self.untrusted(counted(body), "the response cannot be trusted")
        self.untrusted(counted(b" " * 1_100_000), "it is too long")
        self.untrusted(answer("204 No Content"), "status 204")

    def test_without_digest(self) -> None:
        """
        If the response has no digest, as from older platforms, only sizes are compared, with a
        warning.
        """
        content = self.fill("f", b"x")
        wire = stored(content, sha256=None)
        result = self.against(self.take(wire), "f")
        self.ended(result, 0, "chatfiles: warning: no SHA-256 came back")
        self.assertEqual(result.stdout, f"{KEPT}/0-f\n")
        self.assertEqual(self.against(self.take(wire), "f", "-q").stderr, "")
        self.untrusted(stored(b"other", sha256=None), "7 bytes were sent, 5 were stored")

    def test_cannot_steer(self) -> None:
        """One line is printed per file, with control characters escaped."""
        content = self.fill("f", b"x")
        wire = stored(content, uri="workspace:/a\n/b\x1b[2J")
        self.assertEqual(self.against(self.take(wire), "f").stdout, "/a\\n/b\\x1b[2J\n")
