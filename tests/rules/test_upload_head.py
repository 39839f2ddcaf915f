"""
reference/uploads, "Before the body": what both hops check of an upload before they accept its body.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from chatfiles.errors import ChatfilesError
from chatfiles.rules.upload_head import MAX_BOUNDARY, MAX_FILES, check_upload_head, megabytes

LIMIT = 104857600
FORM = b"multipart/form-data; boundary=b"


def verdict(
    *fields: tuple[bytes, bytes], length: int | None = 10, limit: int = LIMIT
) -> str | tuple[int, str]:
    """:return: the boundary, or the status and text of the error."""
    headers = Headers()
    for name, value in fields:
        headers.addRawHeader(name, value)
    try:
        return check_upload_head(headers, length, limit)
    except ChatfilesError as refusal:
        return refusal.status, refusal.text


def of_type(value: bytes, **more: int | None) -> str | tuple[int, str]:
    return verdict((b"Content-Type", value), **more)  # type: ignore[arg-type]


class HeadTests(SynchronousTestCase):
    """`check_upload_head`."""

    def test_boundary(self) -> None:
        """The boundary is found in any valid form of the parameter."""
        for value, boundary in (
            (FORM, "b"),
            (b"Multipart/Form-Data;BOUNDARY=B", "B"),
            (b"multipart/form-data; charset=utf-8; boundary=b", "b"),
            (b"multipart/form-data; boundary=b; charset=utf-8", "b"),
            (b"multipart/form-data;   boundary = b", "b"),
            (b'multipart/form-data; boundary="a b:c"', "a b:c"),
            (
                b"multipart/form-data; boundary=----WebKitFormBoundary7MA4",
                "----WebKitFormBoundary7MA4",
            ),
            (b"multipart/form-data; boundary=" + b"x" * MAX_BOUNDARY, "x" * MAX_BOUNDARY),
        ):
            self.assertEqual(of_type(value), boundary, value)

    def test_no_boundary(self) -> None:
        """A form without a valid boundary is refused with 400."""
        bad = (400, "failed to parse multipart form")
        for options in (
            b"",
            b"; boundary",
            b"; boundary=",
            b'; boundary=""',
            b"; boundary=" + b"x" * (MAX_BOUNDARY + 1),
            b'; boundary="\xff"',
            b'; boundary="a\tb"',
            b"; bound=b",
            b", boundary=b",
        ):
            said = of_type(b"multipart/form-data" + options)
            # With a comma the media type itself is another one.
            expected = (415, "expected multipart/form-data") if options[:1] == b"," else bad
            self.assertEqual(said, expected, options)

    def test_other_types(self) -> None:
        """A body of another type, or with two types, is refused with 415."""
        for value in (
            b"",
            b"application/json",
            b"application/x-www-form-urlencoded",
            b"multipart/mixed; boundary=b",
            b"multipart/form-data2; boundary=b",
            b"x-multipart/form-data; boundary=b",
            b"text/plain; a=multipart/form-data; boundary=b",
        ):
            self.assertEqual(of_type(value), (415, "expected multipart/form-data"), value)
        self.assertEqual(verdict(), (415, "expected multipart/form-data"))
        twice = (b"Content-Type", FORM)
        self.assertEqual(verdict(twice, twice), (415, "expected multipart/form-data"))

    def test_codings(self) -> None:
        """
        A body with a content coding is refused: it must not be stored compressed under the plain
        file's name.
        """
        refused = (415, "an upload must not have a Content-Encoding")
        for coding, expected in (
            (b"identity", "b"),
            (b"Identity", "b"),
            (b"", "b"),
            (b"gzip", refused),
            (b"GZIP", refused),
            (b"br", refused),
            (b"identity, gzip", refused),
            (b"whatever", refused),
        ):
            fields = ((b"Content-Type", FORM), (b"Content-Encoding", coding))
            self.assertEqual(verdict(*fields), expected, coding)
        two = ((b"Content-Encoding", b"identity"), (b"Content-Encoding", b"gzip"))
        self.assertEqual(verdict((b"Content-Type", FORM), *two), refused)

    def test_declared_length(self) -> None:
        """A body whose declared length exceeds the limit is refused before it is read."""
        refused = (413, "request body exceeds total limit (100 MB)")
        for length, expected in (
            (None, "b"),
            (0, "b"),
            (LIMIT, "b"),
            (LIMIT + 1, refused),
            (10**18 - 1, refused),
        ):
            self.assertEqual(of_type(FORM, length=length), expected, length)

    def test_order(self) -> None:
        """The type is checked before the length, and the length before the boundary."""
        self.assertEqual(
            of_type(b"text/plain", length=LIMIT + 1), (415, "expected multipart/form-data")
        )
        self.assertEqual(
            of_type(b"multipart/form-data", length=LIMIT + 1),
            (413, "request body exceeds total limit (100 MB)"),
        )

    @given(st.binary(max_size=60))
    def test_any_bytes(self, value: bytes) -> None:
        """Any boundary is accepted or refused with 400; none raises another exception."""
        said = of_type(
            b"multipart/form-data; boundary=" + value.replace(b"\n", b"").replace(b"\r", b"")
        )
        if isinstance(said, str):
            self.assertTrue(0 < len(said) <= MAX_BOUNDARY and said.isascii() and said.isprintable())
        else:
            self.assertEqual(said, (400, "failed to parse multipart form"))

    def test_megabytes(self) -> None:
        """A limit is written in whole megabytes, as older platforms do, or else in bytes."""
        for limit, text in (
            (104857600, "100 MB"),
            (1 << 20, "1 MB"),
            (2 << 30, "2048 MB"),
            ((1 << 20) - 1, "1048575 bytes"),
            (1000, "1000 bytes"),
            (2_000_000, "2000000 bytes"),
        ):
            self.assertEqual(megabytes(limit), text)

    def test_most_files(self) -> None:
        """The limit is the one of `GET /uploads/limits`."""
        self.assertEqual(MAX_FILES, 64)
