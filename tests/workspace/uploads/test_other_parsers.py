"""
reference/uploads, "Request": our parser compared with those of other programs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.workspace.uploads.other_parsers import OTHERS, Files, found_by, ours

EMAIL, WERKZEUG, MULTIPART, AIOHTTP = OTHERS
HEADERS = b'Content-Disposition: form-data; name="files"; filename="x"\r\n'
#: The characters of a boundary (RFC 2046, 5.1.1).  It does not end with a blank; if it begins with
#: one, aiohttp does not find it.
BOUNDARIES = st.from_regex(r"\A(?! )[A-Za-z0-9'()+_,./:=? -]{0,69}[A-Za-z0-9'()+_,./:=?-]\Z")


@dataclass(frozen=True)
class Form:
    """A well-formed form, and the files in it."""

    boundary: str
    body: bytes
    files: Files


def near_delimiters(boundary: bytes) -> list[bytes]:
    """:return: what resembles a delimiter line but does not begin like one."""
    start = b"\r\n--" + boundary
    beginnings = [start[:n] for n in range(1, len(start))]
    return [*beginnings, b"-- " + boundary, b"x--" + boundary, boundary, b"\r\n\r\n", b"\n", b"a"]


@st.composite
def well_formed(draw: st.DrawFn) -> Form:
    """Generate forms that no standard leaves open: no line in a part begins with the boundary."""
    boundary = draw(BOUNDARIES)
    raw = boundary.encode()
    begins_line = re.compile(rb"(?:\A|[\r\n])--" + re.escape(raw))
    contents = st.one_of(
        st.lists(st.sampled_from(near_delimiters(raw)), max_size=8).map(b"".join),
        st.binary(max_size=60),
    ).filter(lambda content: begins_line.search(content) is None)
    body, files = draw(st.sampled_from([b"", b"\r\n", b"preamble\r\n"])), Files()
    for content in draw(st.lists(contents, min_size=1, max_size=4)):
        name = draw(st.sampled_from([None, "", "a", "a b.txt", "x.tar.gz"]))
        filename = "" if name is None else f'; filename="{name}"'
        media_type = draw(st.sampled_from(["", "Content-Type: text/x\r\n", "x-other:\r\n"]))
        head = f'Content-Disposition: form-data; name="files"{filename}\r\n{media_type}\r\n'
        body += b"--%b\r\n%b%b\r\n" % (raw, head.encode(), content)
        if name is not None:
            files.append((name, content))
    end = draw(st.sampled_from([b"", b"\r\n", b"\r\nepilogue"]))
    return Form(boundary, body + b"--%b--%b" % (raw, end), files)


class WellFormedTests(SynchronousTestCase):
    """Forms on which all parsers agree."""

    @given(well_formed())
    def test_all_agree(self, form: Form) -> None:
        """Each parser finds what was sent, ours too."""
        self.assertEqual(ours(form.body, form.boundary), form.files)
        for parser in OTHERS:
            self.assertEqual(found_by(parser, form.body, form.boundary), form.files, parser)


#: A form without its last delimiter.
OPEN = b"--B\r\n" + HEADERS + b"\r\n1\r\n"


def form(content: bytes, headers: bytes = HEADERS) -> bytes:
    """:return: a form with this file and another one."""
    parts = b"".join(b"--B\r\n%b\r\n%b\r\n" % (headers, each) for each in (content, b"2"))
    return parts + b"--B--\r\n"


@dataclass(frozen=True)
class Difference:
    """
    A form that parsers read differently.

    :param body: the form; the boundary is ``B``.
    :param stored: the contents that our parser finds; ``None`` if it refuses the form.
    :param others: the parsers that find something else.
    """

    body: bytes
    stored: list[bytes] | None
    others: set[str]


def stored_whole(content: bytes, *others: str) -> Difference:
    """:return: a form whose content our parser stores whole, and these parsers do not."""
    return Difference(form(content), [content, b"2"], set(others))


DIFFERENCES = [
    # Only CRLF ends a line (RFC 2046, 4.1.1).  These two take a bare LF or CR for a line end, and
    # a text file in which the boundary begins a line is cut there.
    stored_whole(b"1\n--B\n3", EMAIL, WERKZEUG),
    stored_whole(b"1\r--B\r3", EMAIL, WERKZEUG),
    stored_whole(b"1\r\n--B\n3", EMAIL, WERKZEUG, MULTIPART, AIOHTTP),
    stored_whole(b"1\r\n--B\r3", EMAIL, WERKZEUG, MULTIPART, AIOHTTP),
    stored_whole(b"1\r\n--B--\n3", EMAIL, WERKZEUG, MULTIPART, AIOHTTP),
    # A line that only begins like a delimiter is content.  Those who differ refuse the form, or
    # take the line for the end of it and lose what follows.
    stored_whole(b"1\r\n--B3", MULTIPART, AIOHTTP),
    stored_whole(b"1\r\n--B 3", MULTIPART, AIOHTTP),
    stored_whole(b"1\r\n--B-\r\n", MULTIPART, AIOHTTP),
    stored_whole(b"1\r\n--B--3\r\n", WERKZEUG, MULTIPART, AIOHTTP),
    stored_whole(b"--B3\r\n", AIOHTTP),
    # Blanks behind a delimiter are transport padding (RFC 2046, 5.1.1).
    Difference(form(b"1").replace(b"--B\r", b"--B \t\r"), [b"1", b"2"], {MULTIPART}),
    # An empty part need not have a line end of its own (RFC 2046, 5.1.1): no part is lost.
    # Older versions of aiohttp lose one.
    Difference(
        form(b"").replace(b"\r\n\r\n\r\n", b"\r\n\r\n", 1), [b"", b"2"], {MULTIPART, AIOHTTP}
    ),
    # A part without an empty line behind its headers: the next part would be lost in them.
    Difference(form(b"").replace(b"\r\n\r\n\r\n", b"\r\n", 1), None, {EMAIL, WERKZEUG}),
    # A form that breaks off is refused; mail is stored as far as it came.
    *(
        Difference(OPEN + end, None, {EMAIL})
        for end in (b"", b"--B", b"--B\r\n", b"--B-", b"--B --")
    ),
    # A form whose lines end with LF, or whose first line only resembles a delimiter.
    Difference(form(b"1").replace(b"\r\n", b"\n"), None, {EMAIL, WERKZEUG}),
    Difference(b"preamble\n" + form(b"1"), None, {EMAIL, WERKZEUG, AIOHTTP}),
    Difference(b"--Bx\r\n" + form(b"1"), None, {EMAIL, WERKZEUG, AIOHTTP}),
    # A part's length is where its delimiter is (RFC 7578, 4.8).
    Difference(form(b"1", HEADERS + b"Content-Length: 9\r\n"), [b"1", b"2"], {MULTIPART}),
    # Many headers, and folded ones, which clients of today do not send.
    Difference(form(b"1", HEADERS + b"X: 1\r\n" * 99), [b"1", b"2"], {MULTIPART}),
    Difference(form(b"1", HEADERS + b"X: 1\r\n 2\r\n"), [b"1", b"2"], {AIOHTTP}),
    # Nothing is decoded (RFC 7578, 4.7): stored is what was sent.
    Difference(
        form(b"MQ==", HEADERS + b"Content-Transfer-Encoding: base64\r\n"),
        [b"MQ==", b"2"],
        {EMAIL},
    ),
    # A part must have Content-Disposition (RFC 7578, 4.2); else the form is none.
    Difference(form(b"1", b""), None, {EMAIL, AIOHTTP}),
]


class DifferenceTests(SynchronousTestCase):
    """Forms that parsers read differently, and why."""

    def test_differences(self) -> None:
        """Ours follows the standard; the parsers that are not named agree with it."""
        for each in DIFFERENCES:
            found = ours(each.body, "B")
            contents = None if found is None else [content for _, content in found]
            self.assertEqual(contents, each.stored, each.body)
            for parser in {*OTHERS} - each.others:
                self.assertEqual(found_by(parser, each.body, "B"), found, (parser, each.body))
