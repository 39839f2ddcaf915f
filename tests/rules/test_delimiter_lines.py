"""
Tests for `chatfiles.rules.delimiter_lines`.
"""

from __future__ import annotations

import email
from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from multipart import MultipartSegment, PushMultipartParser
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.delimiter_lines import (
    MAX_BLANKS,
    DelimiterLines,
    MalformedDelimiter,
    Mark,
)
from chatfiles.rules.multipart_reader import FileContent, MultipartReader

#: The first is the start of the second, and the last ends like a last delimiter.
BOUNDARIES = ("B", "BB", "B--", "a b'c()+_,-./:=?d")
HEADERS = b'Content-Disposition: form-data; name="files"; filename="x"\r\n'


def divide(pieces: Iterable[bytes], boundary: str = "B") -> list[bytes | Mark] | None:
    """:return: the marks, and the bytes between them, joined; ``None`` for a malformed body."""
    lines, divided = DelimiterLines(boundary.encode()), list[bytes | Mark]()
    try:
        for piece in pieces:
            divided += lines.feed(piece)
        divided += lines.finish()
    except MalformedDelimiter:
        return None
    joined: list[bytes | Mark] = []
    for each in divided:
        if isinstance(each, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += each
        else:
            joined.append(each)
    return joined


def single_bytes(data: bytes) -> list[bytes]:
    """:return: *data*, one byte at a time."""
    return [data[i : i + 1] for i in range(len(data))]


#: A body, and what it consists of.
Body = tuple[bytes, list[bytes | Mark] | None]


def with_line(line: bytes) -> Body:
    """:return: a body with this line in the content of its part."""
    content = b"\r\n1\r\n%b\r\n2" % line
    return b"--B\r\n%b\r\n--B--\r\n" % content, [Mark.NEXT, content, Mark.LAST]


BODIES: list[Body] = [
    (b"", []),
    (b"--B--", [Mark.LAST]),
    (b"--B-- \t", [Mark.LAST]),
    (b"--B--\r", []),  # its line end has not come
    (b"--B-", []),
    (b"--B", [Mark.NEXT]),
    (b"preamble\r\n--B--\r\nepilogue\r\n--B\r\n", [Mark.LAST]),
    (b"x--B--", []),
    # A part without headers has an empty line.
    (b"--B\r\n\r\nx\r\n--B--", [Mark.NEXT, b"\r\nx", Mark.LAST]),
    (b"--B \t\r\nA: b\r\n\r\nx\r\n--B  \r\n", [Mark.NEXT, b"A: b\r\n\r\nx", Mark.NEXT]),
    # Content without bytes, with a line end of its own and without.
    (b"--B\r\nA: b\r\n\r\n\r\n--B--", [Mark.NEXT, b"A: b\r\n\r\n", Mark.LAST]),
    (b"--B\r\nA: b\r\n\r\n--B--", [Mark.NEXT, b"A: b\r\n\r\n", Mark.LAST]),
    (b"--B\r\n\r\n--B--", [Mark.NEXT, b"\r\n", Mark.LAST]),
    # Lines that only begin like a delimiter line.
    *(
        with_line(line)
        for line in (
            b"--Bx",
            b"--B--x",
            b"--B x",
            b"--B-- x",
            b"--B---",
            b"--B-",
            b"--B\n",
            b"--B\rx",
        )
    ),
    (b"--B\r\n\r\n\n--B--\r\n--B--", [Mark.NEXT, b"\r\n\n--B--", Mark.LAST]),
    (b"--B\r\n\r\n\r--B\r\n--B--", [Mark.NEXT, b"\r\n\r--B", Mark.LAST]),
    # In the headers there is no delimiter line.
    (b"--B\r\n--B\r\n\r\n", [Mark.NEXT, b"--B\r\n\r\n"]),
    # A client that sends LF would lose its first part.
    (b"--B\nA: b\n\nx\r\n--B--", None),
    (b"--Bx\r\n--B--", None),
    (b"preamble\n--B\nA: b\n\nx\r\n--B\r\n\r\ny\r\n--B--", None),
    (b"preamble\n--B\r\n\r\nx\r\n--B--", None),
    (b"preamble\n--Bx\r\n--B--", None),
    (b"preamble\n--\r\n--B--", [Mark.LAST]),
]


class LineTests(SynchronousTestCase):
    """What is a delimiter line."""

    def test_table(self) -> None:
        """Each body consists of what the table says, whole and byte by byte."""
        for body, expected in BODIES:
            self.assertEqual(divide([body]), expected, body)
            self.assertEqual(divide(single_bytes(body)), expected, body)

    def test_blanks(self) -> None:
        """A delimiter line with too many blanks is refused, so that it is never collected."""
        for blanks, expected in ((MAX_BLANKS, [Mark.LAST]), (MAX_BLANKS + 1, None)):
            for end in (b"", b"\r\n"):
                body = b"--B--" + b" " * blanks + end
                self.assertEqual(divide([body]), expected)
                self.assertEqual(divide(single_bytes(body)), expected)

    def test_boundaries(self) -> None:
        """A boundary may begin or end like another one, and may hold what is special elsewhere."""
        for boundary in BOUNDARIES:
            raw = boundary.encode()
            near = [b for b in BOUNDARIES if b not in (boundary, boundary + "--")]
            others = b"".join(b"\r\n--%b" % each.encode() for each in near)
            content = others + b"x\r\n-- " + raw
            body = b"--%b\r\n\r\n%b\r\n--%b--" % (raw, content, raw)
            expected = [Mark.NEXT, b"\r\n" + content, Mark.LAST]
            self.assertEqual(divide([body], boundary), expected)
            self.assertEqual(divide(single_bytes(body), boundary), expected)


_contents = st.lists(
    st.sampled_from([b"--B", b"--B--", b"--Bx", b"--B--x", b"", b" ", b"a", b"--", b"-B", b"\xff"]),
    max_size=6,
).map(b"\r\n".join)
_boundaries = st.text("ABab01'()+_,-./:=?", min_size=1, max_size=70)


def _is_in(content: bytes, boundary: bytes) -> bool:
    """:return: whether a line of *content* is a delimiter line."""
    lines = [line.rstrip(b" \t") for line in content.split(b"\r\n")]
    return not {b"--" + boundary, b"--" + boundary + b"--"}.isdisjoint(lines)


class FormTests(SynchronousTestCase):
    """Forms with any boundary and any content."""

    @given(st.lists(_contents, min_size=1, max_size=4), _boundaries, st.lists(st.integers(0, 999)))
    def test_what_was_sent(self, contents: list[bytes], boundary: str, ends: list[int]) -> None:
        """What arrives is what was sent, however the form is divided."""
        raw = boundary.encode()
        contents = [content for content in contents if not _is_in(content, raw)]
        parts = [b"--%b\r\n%b\r\n%b\r\n" % (raw, HEADERS, content) for content in contents]
        body = b"".join(parts) + b"--%b--" % raw
        self.assertEqual(stored(body, boundary, ends), contents)

    @given(st.binary(max_size=60), _boundaries, st.lists(st.integers(0, 999)))
    def test_other_parsers(self, content: bytes, boundary: str, ends: list[int]) -> None:
        """Two other parsers find the same content in a form that no sender would call unusual."""
        text = content.replace(b"\r", b"").replace(b"\n", b"") + b"."
        raw = boundary.encode()
        parts = [b"--%b\r\n%b\r\n%b\r\n" % (raw, HEADERS, each) for each in (text, b"", b"z")]
        body = b"".join(parts) + b"--%b--\r\n" % raw
        if not _is_in(text, raw):
            found = stored(body, boundary, ends)
            self.assertEqual(found, by_email(body, boundary))
            self.assertEqual(found, by_multipart(body, boundary))


def stored(body: bytes, boundary: str, ends: list[int]) -> list[bytes]:
    """:return: the contents of the files of a form that arrives in pieces."""
    reader, found = MultipartReader(boundary), list[bytes]()
    places = sorted({0, len(body), *(end % (len(body) + 1) for end in ends)})
    pieces = [body[a:b] for a, b in pairwise(places)]
    events = [event for piece in pieces for event in reader.feed(piece)]
    for event in [*events, *reader.finish()]:
        if isinstance(event, FileContent):
            found[-1] += event.data
        else:
            found.append(b"")
    return found


def by_email(body: bytes, boundary: str) -> list[bytes]:
    """:return: the contents that the standard library finds."""
    head = f'Content-Type: multipart/form-data; boundary="{boundary}"\r\n\r\n'
    message = email.message_from_bytes(head.encode() + body)
    return [part.get_payload(decode=True) for part in message.get_payload()]  # type: ignore[union-attr,misc]


def by_multipart(body: bytes, boundary: str) -> list[bytes]:
    """:return: the contents that the library finds by itself."""
    found: list[bytes] = []
    for event in PushMultipartParser(boundary).parse(body):
        if isinstance(event, MultipartSegment):
            found.append(b"")
        elif event:
            found[-1] += event
    return found
