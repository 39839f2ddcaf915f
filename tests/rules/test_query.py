"""
Query strings: how they are parsed, and how they are written so that no library changes them.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from hyperlink import EncodedURL
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.query import encode_query_value, parse_query

EVERY_BYTE = bytes(range(256))

TABLE: list[tuple[bytes, dict[bytes, list[bytes]]]] = [
    (b"", {}),
    (b"&", {}),
    (b"&&&", {}),
    (b"a=1", {b"a": [b"1"]}),
    (b"a=1&b=2", {b"a": [b"1"], b"b": [b"2"]}),
    (b"&a=1&&b=2&", {b"a": [b"1"], b"b": [b"2"]}),
    (b"a=1&a=2&a=1", {b"a": [b"1", b"2", b"1"]}),
    (b"a", {b"a": [b""]}),
    (b"a=", {b"a": [b""]}),
    (b"a&a=x", {b"a": [b"", b"x"]}),
    (b"=", {b"": [b""]}),
    (b"=x", {b"": [b"x"]}),
    (b"a=b=c", {b"a": [b"b=c"]}),
    (b"a==", {b"a": [b"="]}),
    (b"a=1;b=2", {b"a": [b"1;b=2"]}),
    (b"a=?x?/#", {b"a": [b"?x?/#"]}),
    # one decoding, to bytes
    (b"a=%41", {b"a": [b"A"]}),
    (b"a=%2f%2F", {b"a": [b"//"]}),
    (b"a=%25", {b"a": [b"%"]}),
    (b"a=%252e", {b"a": [b"%2e"]}),
    (b"a=%25%34%31", {b"a": [b"%41"]}),
    (b"a=%00%0a%0D%7f", {b"a": [b"\0\n\r\x7f"]}),
    (b"a=%ff%FE%80", {b"a": [b"\xff\xfe\x80"]}),
    (b"a=\xff\xc3\xa9", {b"a": [b"\xff\xc3\xa9"]}),
    (b"a=%26b%3D1", {b"a": [b"&b=1"]}),
    # the space
    (b"a=x+y", {b"a": [b"x y"]}),
    (b"a=x%20y", {b"a": [b"x y"]}),
    (b"a=x%2By", {b"a": [b"x+y"]}),
    (b"a+b=1", {b"a b": [b"1"]}),
    (b"a=%+41", {b"a": [b"% 41"]}),
    # names are decoded too
    (b"%70ath=1", {b"path": [b"1"]}),
    (b"path=1&%70ath=2&p%61th=3", {b"path": [b"1", b"2", b"3"]}),
    (b"a%3Db=1", {b"a=b": [b"1"]}),
    (b"A=1&a=2", {b"A": [b"1"], b"a": [b"2"]}),
    # an invalid escape is kept as it is
    (b"a=%", {b"a": [b"%"]}),
    (b"a=%4", {b"a": [b"%4"]}),
    (b"a=%zz", {b"a": [b"%zz"]}),
    (b"a=%4g", {b"a": [b"%4g"]}),
    (b"a=%g4", {b"a": [b"%g4"]}),
    (b"a=% 41", {b"a": [b"% 41"]}),
    (b"a=%-1", {b"a": [b"%-1"]}),
    (b"a=%0x", {b"a": [b"%0x"]}),
    (b"a=%u0041", {b"a": [b"%u0041"]}),
    (b"a=%%41", {b"a": [b"%A"]}),
    (b"a=%4%31", {b"a": [b"%41"]}),
    (b"a=%\xb2\xb3", {b"a": [b"%\xb2\xb3"]}),  # superscript digits in Latin-1
]


class ParseTests(SynchronousTestCase):
    """`parse_query`."""

    def test_table(self):
        """A query is decoded once, to bytes, so that both roles and a cache between them agree."""
        for raw, expected in TABLE:
            self.assertEqual(parse_query(raw), expected, raw)

    def test_order_of_names(self):
        """Names keep their order."""
        self.assertEqual(list(parse_query(b"c=1&a=2&b=3&a=4")), [b"c", b"a", b"b"])

    @given(st.binary())
    def test_never_fails(self, raw: bytes):
        """Any query is parsed, and the result is not longer than the query."""
        fields = parse_query(raw)
        size = sum(len(name) + len(value) for name in fields for value in fields[name])
        self.assertLessEqual(size, len(raw))

    @given(st.text("ab=&+%;41zZ/ "))
    @example("a=%4%31")
    def test_like_the_standard_library(self, text: str):
        """A query is parsed as by `urllib.parse.parse_qsl`."""
        expected: dict[bytes, list[bytes]] = {}
        for name, value in parse_qsl(text, keep_blank_values=True, encoding="latin-1"):
            expected.setdefault(name.encode("latin-1"), []).append(value.encode("latin-1"))
        self.assertEqual(parse_query(text.encode("latin-1")), expected)


class EncodeTests(SynchronousTestCase):
    """`encode_query_value`."""

    def test_every_byte(self):
        """Every byte that a parser may treat specially is escaped, and no other."""
        written = encode_query_value(EVERY_BYTE)
        self.assertEqual(
            re.sub("%[0-9A-F]{2}", "", written),
            "-./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~",
        )
        self.assertEqual(parse_query(b"v=" + written.encode("ascii")), {b"v": [EVERY_BYTE]})

    def test_examples(self):
        """Examples of the encoding."""
        for value, expected in [
            (b"", ""),
            (b"/workspace/a.txt", "/workspace/a.txt"),
            (b"/workspace/a b+c&d=e;f%g#h?i", "/workspace/a%20b%2Bc%26d%3De%3Bf%25g%23h%3Fi"),
            (b"/workspace/\xff\n\0", "/workspace/%FF%0A%00"),
            ("/workspace/h\u00e9".encode(), "/workspace/h%C3%A9"),
        ]:
            self.assertEqual(encode_query_value(value), expected)

    @given(st.lists(st.binary(), min_size=1))
    @example([EVERY_BYTE, b"%41", b"%2541", b"+", b"&=;#?"])
    def test_round_trip(self, values: list[bytes]):
        """The workspace is asked for exactly the path that the client sent to the platform."""
        query = "&".join("path=" + encode_query_value(value) for value in values)
        self.assertEqual(parse_query(query.encode("ascii")), {b"path": values})

    @given(st.binary())
    @example(EVERY_BYTE)
    @example(b"/workspace/./../%2e%2E/~\xc3\xa9")
    def test_no_url_library_changes_it(self, value: bytes):
        """The URL normalisation of the HTTP client does not change a path."""
        text = "http://w.test:8000/internal/file/read?path=" + encode_query_value(value)
        url = EncodedURL.from_text(text)
        self.assertEqual(url.to_uri().to_text(), text)
        self.assertEqual(url.normalize().to_uri().to_text(), text)
        self.assertEqual(url.replace(query=[*url.query]).to_uri().to_text(), text)
