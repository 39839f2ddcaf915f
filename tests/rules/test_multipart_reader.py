"""
reference/uploads, "Request": the adapter over the multipart parser, with forms written by hand.
"""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import BadRequest
from chatfiles.rules.given_names import GivenName
from chatfiles.rules.multipart_reader import (
    MAX_HEADER_LINE,
    MAX_HEADER_LINES,
    MAX_MEDIA_TYPE,
    MAX_PARTS,
    FileBegins,
    FileContent,
    FormEvent,
    MultipartReader,
)

BOUNDARY = "bOuNd-4"
DELIMITER = b"\r\n--bOuNd-4"
#: A file that was read: name, media type, content.
File = tuple[str, str | None, bytes]


def part(content: bytes, *headers: bytes) -> bytes:
    """:return: a part, with the delimiter line before it and without the line end behind it."""
    return b"\r\n".join([b"--bOuNd-4", *headers, b"", content])


def disposition(filename: bytes | None, name: bytes = b"files") -> bytes:
    suffix = b"" if filename is None else b'; filename="%s"' % filename
    return b'Content-Disposition: form-data; name="%s"%s' % (name, suffix)


def file(content: bytes, filename: bytes = b"x") -> bytes:
    return part(content, disposition(filename))


def form(*parts: bytes) -> bytes:
    return b"".join(p + b"\r\n" for p in parts) + b"--bOuNd-4--\r\n"


def read(pieces: Iterable[bytes], boundary: str = BOUNDARY) -> list[File] | str:
    """
    :return: the files of a form, or the detail of its refusal; fails unless the events of each
        file are in order.
    """
    reader, files = MultipartReader(boundary), list[File]()

    def events() -> Iterator[FormEvent]:
        for piece in pieces:
            yield from reader.feed(piece)
        yield from reader.finish()

    try:
        for event in events():
            if isinstance(event, FileBegins):
                files.append((event.given.name, event.media_type, b""))
            else:
                assert event.data
                name, media_type, content = files.pop()
                files.append((name, media_type, content + event.data))
    except BadRequest as refusal:
        return f"{refusal.text}: {refusal.detail}"
    return files


def split(data: bytes, at: Iterable[int]) -> Iterator[bytes]:
    """:return: *data* in pieces that end at these offsets."""
    last = 0
    for end in [*sorted({offset % (len(data) + 1) for offset in at}), len(data)]:
        yield data[last:end]
        last = end


def octets(data: bytes) -> Iterator[bytes]:
    return (data[i : i + 1] for i in range(len(data)))


@dataclass(frozen=True)
class Part:
    """A part of a generated form; *filename* is ``None`` for a plain field."""

    name: str
    filename: str | None
    media_type: str | None
    content: bytes

    def raw(self) -> bytes:
        filename = None if self.filename is None else self.filename.encode()
        headers = [disposition(filename, self.name.encode())]
        if self.media_type is not None:
            headers.append(b"content-type:" + self.media_type.encode())
        return part(self.content, *headers)


# Content that is full of what the parser looks for.
_PIECES = [DELIMITER[:n] for n in range(1, len(DELIMITER))] + [
    b"--bOuNd-4",
    b"--bOuNd-4--\r\n",
    b"\n--bOuNd-4\r\n",
    b"--bOuNd-4--, she wrote\r\n",
    b"\r\n--bOuNd-4x",
    b"\r\n--bOuNd-4 \t",
    b"\r\n--bOuNd-4-",
    b"\r\r\n",
    b"\r\n\r\n",
    b"--",
    b"a",
    b"\0\xff",
]


_DELIMITER_LINE = re.compile(DELIMITER + rb"(--)?[ \t]*\r\n")


def _never_delimits(content: bytes) -> bool:
    # No sender may choose a boundary that the content has as a delimiter line.  The blank line
    # before the content and the delimiter behind it lend it their line ends.
    return _DELIMITER_LINE.search(b"\r\n" + content + b"\r\n") is None


_contents = st.one_of(
    st.lists(st.sampled_from(_PIECES), max_size=12).map(b"".join), st.binary(max_size=200)
).filter(_never_delimits)
_parts = st.builds(
    Part,
    st.sampled_from(["files", "files", "file", "", "note"]),
    st.one_of(st.none(), st.text(alphabet="ab c.é日%;=/'", max_size=10)),
    st.sampled_from([None, "text/plain", "a/b; charset=x"]),
    _contents,
)
_splits = st.lists(st.integers(0, 10_000), max_size=30)
_BEGINNINGS = [DELIMITER[:n] for n in range(1, len(DELIMITER))]


class SplitTests(SynchronousTestCase):
    """Forms that arrive divided in any way."""

    @given(st.lists(_parts, max_size=5), _splits, st.sampled_from([b"", b"\r\n", b"preamble\r\n"]))
    def test_any_division(self, parts: Sequence[Part], at: list[int], preamble: bytes) -> None:
        """No bytes are lost, added, or given to another file, however the form is divided."""
        data = preamble + form(*[p.raw() for p in parts]) + b"epilogue\r\n--bOuNd-4\r\n"
        expected = [
            (p.filename, p.media_type and p.media_type.partition(";")[0], p.content)
            for p in parts
            if p.name == "files" and p.filename is not None
        ]
        self.assertEqual(read([data]), expected)
        self.assertEqual(read(split(data, at)), expected)
        self.assertEqual(read(octets(data)), expected)

    def test_beginnings_of_the_boundary_at_every_offset(self) -> None:
        """Content that begins like the boundary is delivered in full."""
        for beginning in _BEGINNINGS:
            for content in (beginning, beginning * 2, b"x" + beginning, beginning + b"y"):
                if not _never_delimits(content):
                    continue
                data = form(file(content), file(b"z"))
                expected = [("x", None, content), ("x", None, b"z")]
                for offset in range(len(data) + 1):
                    self.assertEqual(read([data[:offset], data[offset:]]), expected, offset)
                self.assertEqual(read(octets(data)), expected)

    @settings(max_examples=200)
    @given(
        st.lists(_parts, min_size=1, max_size=3),
        st.integers(0, 10_000),
        st.integers(0, 12),
        st.sampled_from([b"", b"\n", b"\r", b"\r\n", b"-", b"--bOuNd-4", b":", b'"', b"\0"]),
        _splits,
    )
    @example([Part("files", "x", None, b"hi")], 0, 0, b"garbage", [9])
    @example([Part("files", "x", None, b"hi")], 65, 0, b"\nContent-Type: a/b", [])
    def test_the_verdict_too(
        self, parts: list[Part], where: int, without: int, instead: bytes, at: list[int]
    ) -> None:
        """Whether a malformed form is refused does not depend on how the network divides it."""
        data = form(*[p.raw() for p in parts])
        where %= len(data)
        data = data[:where] + instead + data[where + without :]
        whole, divided, finest = read([data]), read(split(data, at)), read(octets(data))
        if isinstance(whole, str):
            self.assertIsInstance(divided, str)
            self.assertIsInstance(finest, str)
        else:
            self.assertEqual(divided, whole)
            self.assertEqual(finest, whole)

    def test_longest_header_line(self) -> None:
        """
        Whether the longest line is accepted does not depend on whether its CR arrives with it.
        """
        for length, taken in ((MAX_HEADER_LINE, True), (MAX_HEADER_LINE + 1, False)):
            line = b"X: " + b"x" * (length - 3)
            data = form(part(b"", disposition(b"x"), line))
            end = data.index(line) + len(line)
            for pieces in ([data], split(data, [end]), split(data, [end + 1]), octets(data)):
                self.assertEqual(isinstance(read(pieces), list), taken, length)

    def test_nothing_is_a_piece(self) -> None:
        """A piece without bytes does not end the form."""
        data = form(file(b"hi"))
        self.assertEqual(read([b"", data[:40], b"", data[40:], b""]), [("x", None, b"hi")])

    def test_comes_as_it_arrives(self) -> None:
        """Content is delivered as it arrives, not at the end of its part."""
        reader = MultipartReader(BOUNDARY)
        self.assertEqual(
            list(reader.feed(file(b"first half"))),
            [FileBegins(GivenName("x", "x"), None), FileContent(b"first half")],
        )
        self.assertEqual(list(reader.feed(b", second")), [FileContent(b", second")])
        self.assertEqual(list(reader.feed(DELIMITER + b"--")), [])
        reader.finish()


class BoundTests(SynchronousTestCase):
    """Limits on what a hostile client can cause."""

    def refused_after(self, pieces: Iterable[bytes]) -> int:
        """:return: how many bytes were taken until the form was refused."""
        taken = 0

        def counted() -> Iterator[bytes]:
            nonlocal taken
            for piece in pieces:
                taken += len(piece)
                yield piece

        self.assertIsInstance(read(counted()), str)
        return taken

    def peak(self, pieces: Iterable[bytes]) -> tuple[list[File] | str, int]:
        """:return: the result, and the most memory that was in use for it."""
        tracemalloc.start()
        try:
            return read(pieces), tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def test_preamble_of_10_mib(self) -> None:
        """A preamble is neither collected nor searched again and again."""
        for filler in (b"x", b"\r", b"\r\n--bOuNd-"):
            piece = filler * (65536 // len(filler))
            pieces = [*[piece] * 160, b"\r\n" + form(file(b"hi"))]
            result, peak = self.peak(pieces)
            self.assertEqual(result, [("x", None, b"hi")])
            self.assertLess(peak, 1 << 20)

    def test_epilogue_of_10_mib(self) -> None:
        """An epilogue is not collected either."""
        pieces = [form(file(b"hi")), *[b"\r\n--bOuNd-" * 6000] * 160]
        result, peak = self.peak(pieces)
        self.assertEqual(result, [("x", None, b"hi")])
        self.assertLess(peak, 1 << 20)

    def test_header_of_1_mib(self) -> None:
        """A header line that does not end is refused at the limit."""
        begin = b"--bOuNd-4\r\nContent-Disposition: form-data; name="
        for piece in (b"x" * 100, b"x"):
            taken = self.refused_after([begin, *[piece] * ((1 << 20) // len(piece))])
            self.assertLess(taken, 2 * MAX_HEADER_LINE)
        whole = begin + b"x" * (1 << 20) + b"\r\n\r\n" + form()
        self.assertIsInstance(read([whole]), str)

    def test_continuations(self) -> None:
        """A header line that continues on further lines is refused at the limit."""
        begin = b"--bOuNd-4\r\nContent-Disposition: form-data\r\n"
        self.assertLess(self.refused_after([begin, *[b" x\r\n"] * 100_000]), 4 * MAX_HEADER_LINE)

    def test_header_lines(self) -> None:
        """A part with too many header lines is refused at the limit."""
        begin = b"--bOuNd-4\r\n"
        taken = self.refused_after([begin, *[b"a: b\r\n"] * 1000])
        self.assertLessEqual(taken, len(begin) + 6 * (MAX_HEADER_LINES + 1))

    def test_100_000_parts(self) -> None:
        """A form with too many parts is refused at the limit, even if no part is stored."""
        for one in (
            part(b"", disposition(None, b"")),
            file(b""),
            part(b"x", disposition(b"", b"y")),
        ):
            taken = self.refused_after([one + b"\r\n"] * 100_000)
            self.assertLessEqual(taken, (len(one) + 2) * (MAX_PARTS + 1))

    def test_large_content(self) -> None:
        """The content of a file is not collected in memory."""
        piece = b"\r\n--bOuNd-" * 6000
        reader = MultipartReader(BOUNDARY)
        tracemalloc.start()
        try:
            got = 0
            for data in [file(b""), *[piece] * 200, DELIMITER + b"--"]:
                got += sum(len(e.data) for e in reader.feed(data) if isinstance(e, FileContent))
            self.assertEqual(got, 200 * len(piece))
            self.assertLess(tracemalloc.get_traced_memory()[1], 1 << 20)
        finally:
            tracemalloc.stop()


#: What stands between the quotes of ``filename="…"`` → the name that is read.
NAMES: list[tuple[bytes, str]] = [
    (b"plain.txt", "plain.txt"),
    (b"", ""),
    ("é日😀.txt".encode(), "é日😀.txt"),
    (b"\xff\xfe.txt", "ÿþ.txt"),  # not UTF-8: nothing is lost
    (b"\xc3\xa9\xff", "Ã©ÿ"),
    (b"../../etc/passwd", "../../etc/passwd"),
    (b"a\0b", "a\0b"),
    (b"a\rb", "a\rb"),
    (b"a;b=c", "a;b=c"),
    (b"a%22b%0D%0Ac", 'a"b\r\nc'),  # how browsers write them
    (b"100%25", "100%25"),
    (b'a\\"b', 'a"b'),  # how other clients write them
    (b"C:\\dir\\a.txt", "a.txt"),  # how old clients send a whole path
    (b"$(reboot)", "$(reboot)"),
]


class HeaderTests(SynchronousTestCase):
    """The headers of a part."""

    def test_names(self) -> None:
        """A hostile file name does not break the parser, and is kept until it is made safe."""
        for raw, name in NAMES:
            data = form(part(b"c", disposition(raw)))
            self.assertEqual(read([data]), [(name, None, b"c")], raw)
            self.assertEqual(read(octets(data)), [(name, None, b"c")], raw)

    def test_line_ends_in_names(self) -> None:
        """A name with a line end in it does not add a header."""
        for raw in (b"a\nb", b"a\r\nContent-Type: text/html", b"a\r\n\r\nevil"):
            result = read([form(part(b"c", disposition(raw)))])
            if isinstance(result, list):
                self.assertEqual([name for name, _, _ in result if "evil" in name], [])
                self.assertNotIn("text/html", [kind for _, kind, _ in result])
            else:
                self.assertIsInstance(result, str)

    def test_spelling(self) -> None:
        """Headers are understood in each of the spellings that clients use."""
        for line in (
            b"content-disposition: form-data; name=files; filename=x",
            b"CONTENT-DISPOSITION:FORM-DATA;NAME=files;FILENAME=x",
            b'Content-Disposition: form-data; filename="x"; name="files"',
            b'Content-Disposition: form-data; name="files"; filename="x"; size=3',
            b'Content-Disposition: form-data;\r\n name="files";\r\n\tfilename="x"',
        ):
            self.assertEqual(read([form(part(b"c", line))]), [("x", None, b"c")], line)

    def test_as_written(self) -> None:
        """``written`` is the name that existing workspaces store: percent-encoding is kept."""
        for raw, written in {
            b"a%22b%0D%0Ac": "a%22b%0D%0Ac",
            b'a\\"b': 'a"b',
            b"C:\\dir\\%22.txt": "%22.txt",
            "\u65e5%22".encode(): "\u65e5%22",
        }.items():
            begins = next(MultipartReader(BOUNDARY).feed(file(b"", raw)))
            assert isinstance(begins, FileBegins)
            self.assertEqual(begins.given.written, written)

    def test_skipped(self) -> None:
        """A part that is no file of the ``files`` field is not stored."""
        for headers in (
            [disposition(None)],  # a text field
            [disposition(b"x", b"file")],
            [disposition(b"x", b"files[]")],
            [disposition(b"x", b"Files")],
            [b"Content-Disposition: form-data"],
            [b'Content-Disposition: form-data; filename="x"'],
            # an old way to send several files, which RFC 7578, 4.3, deprecates
            [disposition(None), b"Content-Type: multipart/mixed; boundary=inner"],
        ):
            data = form(part(b"skip", *headers), file(b"c"))
            self.assertEqual(read([data]), [("x", None, b"c")], headers)

    def test_nested_form(self) -> None:
        """The parts of a form that is the content of a file are not taken for files."""
        inner = form(file(b"inner")).replace(b"bOuNd-4", b"inner")
        data = form(
            part(inner, disposition(b"x"), b"Content-Type: multipart/form-data; boundary=inner")
        )
        self.assertEqual(read([data]), [("x", "multipart/form-data", inner)])

    def test_transfer_encoding(self) -> None:
        """Content is not decoded, so that it stays what was sent (RFC 7578, 4.7)."""
        for coding in (b"base64", b"quoted-printable", b"gzip"):
            data = form(part(b"aGk=", disposition(b"x"), b"Content-Transfer-Encoding: " + coding))
            self.assertEqual(read([data]), [("x", None, b"aGk=")])

    def test_other_headers(self) -> None:
        """A part ends at its delimiter, whatever else its headers say (RFC 7578, 4.8)."""
        for line in (
            b"Content-Length: 1",
            b"content-length : 9",
            b"Content-Length: -1",
            b"Content-Length: 1\r\nContent-Length: 2",
            b"Content-ID: <x>",
            b"X-Unknown: \xff",
            b"X-Empty:",
            b"X@1(): any character that RFC 5322, 2.2, allows",
            b"Content-Transfer-Encoding: base64",
            b"Content-Transfer-Encoding: unheard-of",
            b"X-Folded: 1;\r\n 2\r\n\t3",
            b"X-Folded:\r\n \r\n --bOuNd-4 is not a delimiter line",
            b"Content-Length:\r\n 1",
            b"X-Long: " + b"x" * (MAX_HEADER_LINE - 8),
            b"\r\n".join([b"X-Many: 1"] * (MAX_HEADER_LINES - 1)),
        ):
            data = form(part(b"c", line, disposition(b"x")), part(b"d", disposition(b"y"), line))
            expected = [("x", None, b"c"), ("y", None, b"d")]
            self.assertEqual(read([data]), expected, line)
            self.assertEqual(read(octets(data)), expected, line)

    def test_other_headers_take_no_memory(self) -> None:
        """Headers that are ignored are not collected."""
        # Threads that other tests have left take memory, too: the least of several counts.
        self.assertLess(min(self.most_memory() for _ in range(5)), 20 * MAX_HEADER_LINE)

    def most_memory(self) -> int:
        """:return: the bytes that a reader takes for many long headers."""
        half = b"x" * (MAX_HEADER_LINE // 2 - 3)
        lines = (b"X%03d%b: %b\r\n" % (n, half[3:], half) for n in range(MAX_HEADER_LINES - 1))
        reader = MultipartReader(BOUNDARY)
        tracemalloc.start()
        try:
            for piece in chain([b"--bOuNd-4\r\n"], lines):
                self.assertEqual(list(reader.feed(piece)), [])
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def test_given_twice(self) -> None:
        """The first of two headers counts, as in other parsers."""
        file_of_form, note = disposition(b"x"), disposition(None, b"note")
        for headers, found in (
            ([file_of_form, note], [("x", None, b"c")]),
            ([note, file_of_form], []),
            ([file_of_form, disposition(b"y")], [("x", None, b"c")]),
            ([file_of_form, b"Content-Type: a/b", b"content-type: c/d"], [("x", "a/b", b"c")]),
        ):
            self.assertEqual(read([form(part(b"c", *headers))]), found, headers)

    def test_media_type(self) -> None:
        """
        Parameters of a media type are dropped.  One that is empty, too long, or not printable ASCII
        is ignored; it does not reach the response.
        """
        for raw, told in (
            (b"text/plain", "text/plain"),
            (b'Text/Plain; charset="x"', "Text/Plain"),
            (b"text/plain ;a=\xff", "text/plain"),
            (b"", None),
            (b"; charset=x", None),
            (b"text/\xff", None),
            (b"text/\x01", None),
            (b"a/" + b"b" * MAX_MEDIA_TYPE, None),
            (b"a/" + b"b" * (MAX_MEDIA_TYPE - 2), "a/" + "b" * (MAX_MEDIA_TYPE - 2)),
        ):
            data = form(part(b"c", disposition(b"x"), b"Content-Type: " + raw))
            self.assertEqual(read([data]), [("x", told, b"c")], raw)


class MalformedTests(SynchronousTestCase):
    """Malformed forms, and unusual ones that are not."""

    def test_what_is_said(self) -> None:
        """The refusal has the text and the code that existing clients know."""
        refusal = self.assertRaises(BadRequest, MultipartReader("x").finish)
        self.assertEqual(refusal.text, "failed to parse multipart form")
        self.assertEqual(refusal.code, "invalid_multipart")

    def test_refused(self) -> None:
        """Data that is not a well-formed form is refused."""
        good = form(file(b"c"))
        for data in (
            b"",
            b"\r\n",
            b"no form at all",
            b"--bOuNd-4",
            b"--bOuNd-4\r\n",
            b"--bOuNd-4 \r\n" + good,
            b"--bOuNd-4x\r\n" + good,
            b"--bOuNd-4\n" + good,
            good.replace(b"bOuNd-4", b"bOuNd-5"),
            good.replace(b"\r\n", b"\n"),
            good.replace(b"form-data", b"attachment"),
            form(part(b"c")),
            form(part(b"c", b"Content-Type: text/plain")),
            form(part(b"c", disposition(b"x"), b"no colon")),
            form(part(b"c", disposition(b"x"), b": x")),
            form(part(b"c", disposition(b"x"), b"Na me: x")),
            form(part(b"c", b" folded: x", disposition(b"x"))),
        ):
            self.assertIsInstance(read([data]), str, data)
            self.assertIsInstance(read(octets(data)), str, data)

    def test_every_truncation(self) -> None:
        """A form without its end is refused."""
        data = form(file(b"one\r\n"), part(b"two", disposition(None)), file(b"--"))
        end = len(data) - 2  # the line end behind the last delimiter is optional
        for length in range(end):
            self.assertIsInstance(read([data[:length]]), str, length)
        self.assertIsInstance(read([data[:end]]), list)

    def test_delimiter_in_the_headers(self) -> None:
        """A delimiter line is never taken for a header, so that no part is lost with it."""
        for boundary in ("a:b", "a:", ":", "a=b:c", "a: b"):
            delimiter = b"--" + boundary.encode()
            for end in (b"", b"--", b" "):
                data = b"\r\n".join([delimiter, disposition(b"x"), delimiter + end, file(b"y")])
                data = (data + b"\r\n--bOuNd-4--").replace(b"--bOuNd-4", delimiter)
                self.assertIsInstance(read([data], boundary), str, data.decode())
                self.assertIsInstance(read(octets(data), boundary), str, data.decode())

    def test_empty_form(self) -> None:
        """A form without parts is a form without files."""
        self.assertEqual(read([form()]), [])

    def test_empty_files(self) -> None:
        """A file without bytes is read."""
        data = form(file(b"", b"a"), file(b"", b"b"))
        for offset in range(len(data)):
            self.assertEqual(
                read([data[:offset], data[offset:]]), [("a", None, b""), ("b", None, b"")]
            )

    def test_epilogue(self) -> None:
        """What follows the last delimiter is ignored."""
        for epilogue in (b"", b"x" * 100_000, form(file(b"more")), b"\r\n--bOuNd-4\r\n"):
            data = form(file(b"c")) + epilogue
            self.assertEqual(read([data]), [("x", None, b"c")])
            self.assertEqual(read(split(data, range(200))), [("x", None, b"c")])

    def test_boundaries(self) -> None:
        """Boundaries that RFC 2046 allows are accepted."""
        for boundary in ("x", "-" * 70, "a b'c()+_,-./:=?d", "0"):
            data = form(file(b"\r\n--")).replace(b"bOuNd-4", boundary.encode())
            self.assertEqual(read([data], boundary), [("x", None, b"\r\n--")])
            self.assertEqual(read(octets(data), boundary), [("x", None, b"\r\n--")])
