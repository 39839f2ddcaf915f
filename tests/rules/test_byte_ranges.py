"""
Tests for `chatfiles.rules.byte_ranges`.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.byte_ranges import (
    Part,
    forwarded_range,
    parse_content_range,
    part_fault,
    requested_span,
)

VERSION = "206 of another version than was asked for"
NO_RANGE = "206 without a Range"
NO_PART = "206 without a Content-Range"
LENGTH = "Content-Range does not fit the length"
OTHER = "206 with another part than was asked for"
MULTIPART = b"multipart/byteranges; boundary=x"

#: Lines of Content-Range, and the part that they name.
CONTENT_RANGES: list[tuple[list[bytes], Part | None]] = [
    ([b"bytes 0-4/10"], Part(0, 4, 10)),
    ([b"bytes 5-9/*"], Part(5, 9, None)),
    ([b"bytes 007-9/0010"], Part(7, 9, 10)),
    ([b"bytes 9-5/10"], Part(9, 5, 10)),
    ([], None),
    ([b"bytes 0-4/10", b"bytes 0-4/10"], None),
    ([b"bytes 0-4/10, 5-6/10"], None),
    ([b"bytes */10"], None),
    ([b"bytes 0-/10"], None),
    ([b"bytes -4/10"], None),
    ([b"bytes 0-4"], None),
    ([b"Bytes 0-4/10"], None),
    ([b"bytes=0-4/10"], None),
    ([b"bytes 0 - 4/10"], None),
    ([b"bytes 0-4/10 "], None),
    ([b"bytes +0-4/10"], None),
    ([b"bytes 0-4/-10"], None),
    ([b"items 0-4/10"], None),
    ([b"bytes 0-\xb2/10"], None),
    ([b"bytes 0-99999999999999999999/*"], None),
    ([b""], None),
]

#: Lines of Range, a Content-Range, the length of the body, and the fault.
PARTS: list[tuple[list[bytes], bytes, int | None, str | None]] = [
    ([b"bytes=0-4"], b"bytes 0-4/10", 5, None),
    ([b"bytes=0-4"], b"bytes 0-4/10", None, None),
    ([b"bytes=0-4"], b"bytes 0-4/*", 5, None),
    ([b"BYTES= 0-4 "], b"bytes 0-4/10", 5, None),
    ([b"bytes=0-99"], b"bytes 0-9/10", 10, None),
    ([b"bytes=5-"], b"bytes 5-9/10", 5, None),
    ([b"bytes=005-"], b"bytes 5-9/10", 5, None),
    ([b"bytes=5-" + b"9" * 5000], b"bytes 5-9/10", 5, None),
    ([b"bytes=-5"], b"bytes 5-9/10", 5, None),
    ([b"bytes=-5"], b"bytes 5-9/*", 5, None),
    ([b"bytes=-99"], b"bytes 0-9/10", 10, None),
    # not what was requested
    ([], b"bytes 0-4/10", 5, NO_RANGE),
    ([b"bytes=0-4"], b"bytes 1-4/10", 4, OTHER),
    ([b"bytes=0-4"], b"bytes 0-5/10", 6, OTHER),
    ([b"bytes=5-"], b"bytes 0-9/10", 10, OTHER),
    ([b"bytes=5-"], b"bytes 6-9/10", 4, OTHER),
    ([b"bytes=-5"], b"bytes 4-9/10", 6, OTHER),
    ([b"bytes=-5"], b"bytes 4-8/10", 5, OTHER),
    ([b"bytes=" + b"9" * 5000 + b"-"], b"bytes 5-9/10", 5, OTHER),
    ([b"bytes=-"], b"bytes 0-9/10", 10, OTHER),
    ([b"items=0-4"], b"bytes 0-4/10", 5, OTHER),
    ([b"bytes=0-4x"], b"bytes 0-4/10", 5, OTHER),
    # a part that contradicts itself
    ([b"bytes=0-4"], b"bytes 0-4/10", 4, LENGTH),
    ([b"bytes=0-4"], b"bytes 0-4/10", 6, LENGTH),
    ([b"bytes=0-4"], b"bytes 0-4/4", 5, LENGTH),
    ([b"bytes=4-0"], b"bytes 4-0/10", None, LENGTH),
    ([b"bytes=0-4"], b"bytes */10", 5, NO_PART),
    # several ranges: one part, or parts with their own media type
    ([b"bytes=0-1,3-4"], b"bytes 0-4/10", 5, None),
    ([b"bytes=0-1", b"bytes=3-4"], b"bytes 0-4/10", 5, None),
    ([b"bytes=0-1,3-4"], b"", 99, NO_PART),
]

#: Lines of Range, and the Range that a gateway sends.
FORWARDED: list[tuple[list[bytes], bytes | None]] = [
    ([b"bytes=0-4"], b"bytes=0-4"),
    ([b"bytes=5-"], b"bytes=5-"),
    ([b"bytes=-5"], b"bytes=-5"),
    ([b"bytes=-0"], b"bytes=-0"),
    ([b" Bytes= 000-0004\t"], b"bytes=0-4"),
    ([b"bytes=,0-4 ,\t, "], b"bytes=0-4"),
    ([b"bytes=0-1, 5-,-2"], b"bytes=0-1,5-,-2"),
    ([b"bytes=0-" + b"9" * 5000], b"bytes=0-9223372036854775807"),
    ([b"bytes=9223372036854775808-"], b"bytes=9223372036854775807-"),
    # ignored
    ([], None),
    ([b"bytes=0-4", b"bytes=0-4"], None),
    ([b""], None),
    ([b"bytes="], None),
    ([b"bytes=-"], None),
    ([b"bytes=+0-+4"], None),
    ([b"bytes=0 - 4"], None),
    ([b"bytes =0-4"], None),
    ([b"bytes=4-0"], None),
    ([b"bytes=0_0-4"], None),
    ([b"bytes=\xb2-4"], None),
    ([b"items=0-4"], None),
    ([b"bytes=0-4,x"], None),
    ([b"bytes=0-4,4-0"], None),
    ([b"bytes=" + b"0-0," * 16 + b"0-0"], None),
]


class ContentRangeTests(SynchronousTestCase):
    """The part that a response names."""

    def test_table(self) -> None:
        """A valid ``Content-Range`` is parsed; an invalid or repeated one is not."""
        for values, part in CONTENT_RANGES:
            self.assertEqual(parse_content_range(values), part, values)

    def test_length(self) -> None:
        """A part knows its length, which shows whether a chunked part is complete."""
        self.assertEqual(Part(5, 9, None).length, 5)

    @given(st.integers(0, 10**18), st.integers(0, 10**18), st.none() | st.integers(0, 10**18))
    def test_any(self, first: int, last: int, total: int | None) -> None:
        """Any numbers that are written are read back."""
        text = b"bytes %d-%d/%b" % (first, last, b"*" if total is None else b"%d" % total)
        self.assertEqual(parse_content_range([text]), Part(first, last, total))


class ForwardedRangeTests(SynchronousTestCase):
    """The ranges that a gateway sends to a server that may read them in another way."""

    def test_table(self) -> None:
        """An ignored ``Range`` is not forwarded, and another one in its plainest form."""
        for values, expected in FORWARDED:
            self.assertEqual(forwarded_range(values), expected, values)

    @given(
        st.from_regex(rb"[Bb]ytes ?=([ ,\t+]{0,2}[0-9]{0,3} ?- ?[0-9]{0,20}){0,3}", fullmatch=True)
        | st.binary(),
        st.integers(0, 2000) | st.integers(0, 1 << 62),
    )
    def test_any(self, field: bytes, size: int) -> None:
        """It selects the same bytes of any file, and is well-formed."""
        forwarded = forwarded_range([field])
        span = requested_span(field, size)
        if forwarded is None:
            self.assertIsNone(span)
        else:
            self.assertEqual(requested_span(forwarded, size), span)
            self.assertRegex(forwarded, rb"\Abytes=([0-9]+-[0-9]*|-[0-9]+)(,|\Z)")
            self.assertEqual(forwarded_range([forwarded]), forwarded)


class PartFaultTests(SynchronousTestCase):
    """Whether a 206 contains what was requested."""

    def fault(self, **more: Any) -> str | None:
        """:return: the fault of a valid response with these changes."""
        usual: dict[str, Any] = {"content_range": [b"bytes 0-4/10"], "length": 5}
        return part_fault(more.pop("ranges", [b"bytes=0-4"]), **(usual | more))

    def test_table(self) -> None:
        """A part that was not requested, or contradicts itself, is a fault."""
        for ranges, content_range, length, expected in PARTS:
            given_range = [content_range] if content_range else []
            got = part_fault(ranges, content_range=given_range, length=length)
            self.assertEqual(got, expected, (ranges, content_range, length))

    def test_multipart(self) -> None:
        """``multipart/byteranges`` is accepted only if several ranges were requested."""
        for ranges, content_type, expected in [
            ([b"bytes=0-1,3-4"], MULTIPART, None),
            ([b"bytes=0-1", b"bytes=3-4"], MULTIPART.upper(), None),
            ([b"bytes=0-1"], MULTIPART, NO_PART),
            ([b"bytes=0-1,3-4"], b"text/plain", NO_PART),
        ]:
            fault = self.fault(ranges=ranges, content_range=[], content_type=content_type)
            self.assertEqual(fault, expected, (ranges, content_type))

    def test_versions(self) -> None:
        """A part of another version than that of ``If-Range`` is a fault."""
        for if_range, etags, expected in [
            (b"", [], None),
            (b"", [b'"a"'], None),
            (b'"a"', [b'"a"'], None),
            (b' "a" ', [b'"a"'], None),
            (b'"a"', [b'"b"'], VERSION),
            (b'"a"', [b'W/"a"'], VERSION),
            (b'"a"', [], VERSION),
            (b'"a"', [b'"a"', b'"a"'], VERSION),
            (b'W/"a"', [b'W/"a"'], VERSION),
            (b"Sun, 06 Nov 1994 08:49:37 GMT", [b'"a"'], None),
        ]:
            fault = self.fault(if_range=if_range, etags=etags)
            self.assertEqual(fault, expected, (if_range, etags))

    @given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
    def test_any_part(self, first: int, last: int, given_first: int, given_last: int) -> None:
        """A part outside the requested range is a fault."""
        fault = part_fault(
            [b"bytes=%d-%d" % (first, last)],
            content_range=[b"bytes %d-%d/100" % (given_first, given_last)],
            length=None,
        )
        inside = first == given_first <= given_last <= last
        self.assertEqual(fault is None, inside)
