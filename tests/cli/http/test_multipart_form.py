"""
The body of an upload, and the files that it contains.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.cli.errors import CliError
from chatfiles.cli.exit_status import Exit
from chatfiles.cli.http.multipart_form import Form, Wait
from chatfiles.cli.transfers import input_file
from chatfiles.client.core.form import new_boundary
from chatfiles.rules.multipart_reader import FileBegins, FileContent, MultipartReader

BOUNDARY = "chatfiles-0123456789abcdef"
names = st.binary(min_size=1, max_size=40).filter(lambda n: not {0, 0x2F} & set(n))


def ready(_: int) -> None:
    """Nothing to wait for."""


@dataclass
class Part:
    """A file of a test."""

    name: bytes
    content: list[bytes]
    counted: bool = True

    @property
    def size(self) -> int | None:
        return sum(map(len, self.content)) if self.counted else None

    def pieces(self, wait: Wait) -> Iterator[bytes]:
        yield from self.content


def whole(form: Form) -> bytes:
    return b"".join(form.blocks(ready)) + form.closing


def as_text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeError:
        return name.decode("latin-1")


class FormTests(SynchronousTestCase):
    """``multipart/form-data``."""

    def test_literal(self) -> None:
        """The form is byte for byte the one that a browser sends."""
        form = Form([Part(b"a.txt", [b"12", b"3"]), Part(b"b", [])], "B")
        self.assertEqual(form.content_type, "multipart/form-data; boundary=B")
        self.assertEqual(
            whole(form),
            b"--B\r\n"
            b'Content-Disposition: form-data; name="files"; filename="a.txt"\r\n'
            b"Content-Type: text/plain\r\n\r\n123\r\n"
            b"--B\r\n"
            b'Content-Disposition: form-data; name="files"; filename="b"\r\n'
            b"Content-Type: application/octet-stream\r\n\r\n\r\n"
            b"--B--\r\n",
        )

    def test_names(self) -> None:
        """Only quotes and line ends are escaped, as WHATWG specifies."""
        for name, written in (
            (b'say "hi"', b"say %22hi%22"),
            (b"a\r\nX-Injected: 1", b"a%0D%0AX-Injected: 1"),
            ("é日".encode(), b"\xc3\xa9\xe6\x97\xa5"),
            (b"\xff\xfe", b"\xff\xfe"),
            (b"back\\slash\\", b"back\\slash\\"),
            (b"100%", b"100%"),
            (b"a;b=c", b"a;b=c"),
        ):
            [head] = Form([Part(name, [])], "B").blocks(ready)
            self.assertIn(b'; filename="%s"\r\n' % written, head)
            self.assertEqual(head.count(b"\r\n"), 4)

    @given(
        st.lists(st.builds(Part, names, st.lists(st.binary(max_size=50), max_size=4)), min_size=1)
    )
    def test_reads_back(self, parts: list[Part]) -> None:
        """
        The workspace's own parser finds the same files under the same names; the announced length
        is right.  Names with a per cent sign or backslash are not compared: their decoding is
        ambiguous.
        """
        form = Form(parts, BOUNDARY)
        body = whole(form)
        self.assertEqual(form.length, len(body))
        reader = MultipartReader(BOUNDARY)
        found: list[tuple[str, bytes]] = []
        for event in reader.feed(body):
            if isinstance(event, FileBegins):
                found.append((event.given.name, b""))
            elif isinstance(event, FileContent):
                found[-1] = (found[-1][0], found[-1][1] + event.data)
        reader.finish()
        self.assertEqual([content for _, content in found], [b"".join(p.content) for p in parts])
        for (name, _), part in zip(found, parts, strict=True):
            if not set(b"%\\") & set(part.name):
                self.assertEqual(name, as_text(part.name))

    def test_no_empty_block(self) -> None:
        """No block is empty: an empty chunk ends a chunked body."""
        form = Form([Part(b"a", [b"", b"1", b""]), Part(b"b", [b""])], "B")
        self.assertTrue(all(form.blocks(ready)))

    def test_unknown_length(self) -> None:
        """The form has no length if one part has none."""
        self.assertIsNone(Form([Part(b"a", []), Part(b"b", [], counted=False)], "B").length)

    def test_boundary(self) -> None:
        """The boundary has 128 random bits, and at most the 70 characters of RFC 2046."""
        asked: list[int] = []

        def token_hex(count: int) -> str:
            asked.append(count)
            return "ab" * count

        self.assertEqual(new_boundary(token_hex), "chatfiles-" + "ab" * 16)
        self.assertEqual(asked, [16])
        self.assertNotEqual(new_boundary(), new_boundary())
        self.assertLessEqual(len(new_boundary()), 70)


class SourceTests(SynchronousTestCase):
    """A file that is read for an upload."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "a.txt")

    def open(self, content: bytes, name: str | None = None) -> input_file.Source:
        with open(self.path, "wb") as file:
            file.write(content)
        source = input_file.Source(self.path, name)
        self.addCleanup(source.__exit__)
        return source

    def refused(self, source: input_file.Source) -> CliError:
        error: CliError = self.assertRaises(CliError, list, source.pieces(ready))
        self.assertEqual(error.exit_code, Exit.LOCAL)
        return error

    def test_name(self) -> None:
        """
        The name is the last segment of the path or the given one; bytes that are not UTF-8 are
        kept.
        """
        self.assertEqual(self.open(b"").name, b"a.txt")
        self.assertEqual(self.open(b"", "b/\udcff").name, b"b/\xff")

    def test_pieces(self) -> None:
        """A large file is read in bounded pieces, counted and hashed."""
        content = os.urandom(2 * input_file.BLOCK + 7)
        source = self.open(content)
        pieces = list(source.pieces(ready))
        self.assertEqual(b"".join(pieces), content)
        self.assertLessEqual(max(map(len, pieces)), input_file.BLOCK)
        self.assertEqual(source.sent, source.size)
        self.assertEqual(source.digest.digest(), hashlib.sha256(content).digest())

    def test_changes(self) -> None:
        """A change of the file in place after it was opened is noticed before its end."""

        def cut() -> None:
            os.truncate(self.path, 5)

        def append() -> None:
            with open(self.path, "ab") as file:
                file.write(b"x")

        def rewrite() -> None:
            with open(self.path, "r+b") as file:
                file.write(b"9")
            os.utime(self.path, (1, 1))

        changes: tuple[tuple[Callable[[], None], str], ...] = (
            (cut, "shorter"),
            (append, "longer"),
            (rewrite, "written to"),
        )
        for change, how in changes:
            source = self.open(b"0123456789")
            change()
            error = self.refused(source)
            self.assertIn("a.txt changed while it was being sent", error.message)
            self.assertIn(how, error.message)

    def test_changes_before_the_last_byte(self) -> None:
        """The last bytes of a file that has changed are not sent: they would complete it."""
        source = self.open(bytes(input_file.BLOCK + 1))
        pieces = source.pieces(ready)
        next(pieces)
        os.utime(self.path, (0, 0))
        self.assertRaises(CliError, next, pieces)

    def test_changes_behind_the_last_byte(self) -> None:
        """A file that shrinks after all of it has been read was sent whole."""
        source = self.open(b"0123456789")
        pieces = source.pieces(ready)
        sent = next(pieces)
        os.truncate(self.path, 5)
        self.assertEqual((sent, list(pieces)), (b"0123456789", []))

    def test_replaced(self) -> None:
        """A file that is replaced or removed is sent as it was, because it is open."""
        source = self.open(b"old")
        os.unlink(self.path)
        with open(self.path, "wb") as file:
            file.write(b"other")
        self.assertEqual(b"".join(source.pieces(ready)), b"old")

    def test_pipe(self) -> None:
        """
        A pipe is waited for before each read, even if another process has made it non-blocking.
        """
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        waited: list[int] = []
        sent = [b"", b"ab", b"", b"c"]  # at the first and third wait the pipe is empty

        def wait(descriptor: int) -> None:
            waited.append(descriptor)
            if sent:
                os.write(writer, sent.pop(0))
            else:
                os.close(writer)

        with input_file.Source(f"/dev/fd/{reader}", "p") as source:
            os.close(reader)
            self.assertIsNone(source.size)
            os.set_blocking(source._file.fileno(), False)
            self.assertEqual(list(source.pieces(wait)), [b"ab", b"c"])
        self.assertEqual(len(waited), 5)
        self.assertEqual(source.sent, 3)

    def test_closed(self) -> None:
        """No descriptor is left open."""
        with self.open(b"x") as source:
            descriptor = source._file.fileno()
        self.assertRaises(OSError, os.fstat, descriptor)
