"""
Headers by name, and as lines.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from chatfiles.rules.header_fields import HeaderValues, header_lines, read_fields

NAMES = st.from_regex(rb"[A-Za-z-]{1,8}", fullmatch=True)
VALUES = st.from_regex(rb"([!-~]([ -~]{0,6}[!-~])?)?", fullmatch=True)


class HeaderValuesTests(SynchronousTestCase):
    """`HeaderValues`."""

    @given(st.dictionaries(NAMES.map(bytes.lower), st.lists(VALUES, min_size=1)), NAMES)
    def test_as_twisted(self, headers: dict[bytes, list[bytes]], name: bytes) -> None:
        """It finds what Twisted's headers find, whatever the case of the name."""
        twisted = Headers(headers)
        for each in (name, *headers, *[key.upper() for key in headers]):
            found = HeaderValues(headers).getRawHeaders(each, (b"default",))
            self.assertEqual(list(found), list(twisted.getRawHeaders(each, [b"default"])))
        self.assertEqual(HeaderValues().getRawHeaders(name), ())


class HeaderLinesTests(SynchronousTestCase):
    """`header_lines`."""

    @given(st.lists(st.tuples(NAMES, VALUES)))
    def test_read_back(self, fields: list[tuple[bytes, bytes]]) -> None:
        """What is written can be read back, in the same order."""
        lower = [(name.lower(), value) for name, value in fields]
        self.assertEqual(read_fields(header_lines(fields)), lower)

    def test_lines(self) -> None:
        """Each line has its end."""
        self.assertEqual(header_lines([]), b"")
        self.assertEqual(header_lines([(b"A", b"b"), (b"C", b"")]), b"A: b\r\nC: \r\n")
