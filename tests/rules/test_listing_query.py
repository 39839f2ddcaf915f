"""
The query of a listing.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import BadRequest
from chatfiles.rules.entry_json import encode_cursor
from chatfiles.rules.listing_query import ListingQuery, listing_query

PATH = b"path=/workspace"
NDJSON = b"application/x-ndjson"


def asked(query: bytes, accept: bytes = b"") -> ListingQuery:
    """:return: what *query*, which follows a valid path, asks for."""
    return listing_query(PATH + b"&" + query, [accept] if accept else [])


def code_of(query: bytes, accept: bytes = b"") -> str:
    """:return: the code of the error for a whole query."""
    try:
        listing_query(query, [accept] if accept else [])
    except BadRequest as error:
        return error.code
    return ""


class ListingQueryTests(SynchronousTestCase):
    """`listing_query`."""

    def test_defaults(self) -> None:
        """Without parameters: the first page of what is in the directory."""
        found = asked(b"")
        self.assertEqual(found.path.raw, b"/workspace")
        self.assertEqual((found.depth, found.limit, found.after), (1, 1000, None))
        self.assertFalse(found.is_stream)

    def test_values(self) -> None:
        """Each parameter, and parameters that the table does not list."""
        found = asked(b"limit=7&depth=0&after=%b&x=1&x=2" % encode_cursor(b"a b\xff").encode())
        self.assertEqual((found.depth, found.limit, found.after), (0, 7, b"a b\xff"))

    def test_depth(self) -> None:
        """Over 1 it needs a stream; ``infinity`` is told apart from the greatest number."""
        for value, depth in ((b"2", 2), (b"64", 64), (b"infinity", None)):
            self.assertEqual(asked(b"depth=" + value, NDJSON).depth, depth)
            self.assertEqual(code_of(PATH + b"&depth=" + value), "stream_required")
        error = self.assertRaises(BadRequest, asked, b"depth=2")
        assert isinstance(error, BadRequest)
        self.assertEqual(error.text, "depth over 1 needs Accept: application/x-ndjson")
        for value in (b"", b"-1", b"65", b"Infinity", b"1.0", b"one"):
            for accept in (b"", NDJSON):
                self.assertEqual(code_of(PATH + b"&depth=" + value, accept), "invalid_depth", value)

    def test_stream(self) -> None:
        """A stream has no pages: its limit is ignored, whatever it is."""
        for value in (b"7", b"0", b"x", b"1&limit=2"):
            self.assertEqual(asked(b"limit=" + value, NDJSON).limit, 1000)
            self.assertTrue(asked(b"limit=" + value, NDJSON).is_stream)

    def test_order(self) -> None:
        """The first faulty parameter of the table is reported, in whatever order they are given."""
        faults = [
            (b"path=x", b"path=/workspace", "path_not_absolute"),
            (b"depth=x", b"", "invalid_depth"),
            (b"limit=0", b"", "invalid_limit"),
            (b"after=!", b"", "invalid_after"),
        ]
        for number in range(len(faults)):
            given = [good for _, good, _ in faults[:number]] + [bad for bad, *_ in faults[number:]]
            for parts in (given, given[::-1]):
                self.assertEqual(code_of(b"&".join(parts)), faults[number][2])
        self.assertEqual(code_of(PATH + b"&limit=0&depth=2"), "stream_required")
        for name in (b"depth", b"limit", b"after"):
            query = b"%b&%b=1&%b=1" % (PATH, name, name)
            self.assertEqual(code_of(query), "parameter_repeated", name)

    @given(st.binary(max_size=30), st.binary(max_size=30))
    def test_any_bytes(self, query: bytes, accept: bytes) -> None:
        """Whatever is given, the result is valid or the error is 400."""
        try:
            found = asked(query, accept)
        except BadRequest:
            return
        self.assertTrue(1 <= found.limit <= 10_000)
        self.assertTrue(found.depth is None or 0 <= found.depth <= (64 if found.is_stream else 1))
