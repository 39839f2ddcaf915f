"""
HTTP dates.
"""

from __future__ import annotations

from email.utils import formatdate

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.http_dates import format_http_date, parse_http_date

NOV_1994 = 784_111_777
#: 2026-06-15 12:00:00
NOW = 1_781_524_800

PARSED: list[tuple[bytes, int | None]] = [
    (b"Sun, 06 Nov 1994 08:49:37 GMT", NOV_1994),
    (b"Sunday, 06-Nov-94 08:49:37 GMT", NOV_1994),
    (b"Sun Nov  6 08:49:37 1994", NOV_1994),
    (b"Sun Nov 06 08:49:37 1994", NOV_1994),
    (b"  Sun, 06 Nov 1994 08:49:37 GMT\t", NOV_1994),
    (b"Mon, 06 Nov 1994 08:49:37 GMT", NOV_1994),  # it was a Sunday: the day's name is not checked
    (b"Thu, 01 Jan 1970 00:00:00 GMT", 0),
    (b"Wed, 31 Dec 1969 23:59:59 GMT", -1),
    (b"Thu, 29 Feb 2024 00:00:00 GMT", 1_709_164_800),
    (b"Tue, 30 Jun 2015 23:59:60 GMT", 1_435_708_800),  # a leap second
    (b"Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
    (b"Mon, 01 Jan 0001 00:00:00 GMT", -62_135_596_800),
    # two-digit years around now + 50 years
    (b"Monday, 15-Jun-76 12:00:00 GMT", NOW + 1_577_923_200),
    (b"Monday, 15-Jun-76 12:00:01 GMT", 203_688_001),
    (b"Friday, 15-Jun-77 12:00:00 GMT", 235_224_000),
    (b"Monday, 15-Jun-26 12:00:00 GMT", NOW),
    (b"Saturday, 01-Jan-00 00:00:00 GMT", 946_684_800),
    *(
        (value, None)
        for value in (
            b"",
            b"0",
            b"784111777",
            b"yesterday",
            b"1994-11-06T08:49:37Z",
            b"Sun, 06 Nov 1994 08:49:37",
            b"Sun, 06 Nov 1994 08:49:37 UTC",
            b"Sun, 06 Nov 1994 08:49:37 +0000",
            b"Sun, 06 Nov 1994 08:49:37 gmt",
            b"sun, 06 nov 1994 08:49:37 GMT",
            b"06 Nov 1994 08:49:37 GMT",
            b"Sun 06 Nov 1994 08:49:37 GMT",
            b"Sun,06 Nov 1994 08:49:37 GMT",
            b"Sun, 6 Nov 1994 08:49:37 GMT",
            b"Sun, 06 Nov 94 08:49:37 GMT",
            b"Sun, 06-Nov-94 08:49:37 GMT",
            b"Sunday, 06-Nov-1994 08:49:37 GMT",
            b"Sun, 31 Feb 1994 08:49:37 GMT",
            b"Thu, 29 Feb 2023 00:00:00 GMT",
            b"Sun, 00 Nov 1994 08:49:37 GMT",
            b"Sun, 06 Nov 0000 08:49:37 GMT",
            b"Sun, 06 Nov 1994 24:00:00 GMT",
            b"Sun, 06 Nov 1994 08:60:37 GMT",
            b"Sun, 06 Nov 1994 08:49:61 GMT",
            b"Sun, 06 Nov 1994 08:49:37 GMT; length=5",
            b"Sun, 06 Nov 1994 08:49:37 GMT\n",
            b"Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
            b"Sun Nov   08:49:37 1994",
            b"Sun, \xd9\xa0\xd9\xa6 Nov 1994 08:49:37 GMT",
            b"Sun, \xb2\xb3 Nov 1994 08:49:37 GMT",
            b"\xff",
        )
    ),
]


class DateTests(SynchronousTestCase):
    """`parse_http_date` and `format_http_date`."""

    def test_parse(self):
        """The three formats of RFC 9110 are parsed; any other text is not a date."""
        for value, expected in PARSED:
            self.assertEqual(parse_http_date(value, NOW), expected, value)

    def test_format(self):
        """Dates are written as IMF-fixdate."""
        for seconds, expected in [
            (NOV_1994, b"Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, b"Thu, 01 Jan 1970 00:00:00 GMT"),
            (-1, b"Wed, 31 Dec 1969 23:59:59 GMT"),
            (253_402_300_799, b"Fri, 31 Dec 9999 23:59:59 GMT"),
            (253_402_300_800, b"Fri, 31 Dec 9999 23:59:59 GMT"),
            (2**63, b"Fri, 31 Dec 9999 23:59:59 GMT"),
            (-(2**63), b"Mon, 01 Jan 0001 00:00:00 GMT"),
        ]:
            self.assertEqual(format_http_date(seconds), expected)

    @given(st.integers(0, 4_000_000_000))
    def test_format_like_the_standard_library(self, seconds: int):
        """Dates are written as by the standard library."""
        self.assertEqual(format_http_date(seconds).decode(), formatdate(seconds, usegmt=True))

    @given(st.integers(-62_135_596_800, 253_402_300_799), st.integers(0, 4_000_000_000))
    def test_round_trip(self, seconds: int, now: int):
        """A date that was written is parsed as the same time."""
        self.assertEqual(parse_http_date(format_http_date(seconds), now), seconds)

    @given(st.integers(0, 4_000_000_000), st.integers(0, 4_000_000_000))
    def test_two_digit_years(self, seconds: int, now: int):
        """A two-digit year is at most 50 years in the future."""
        text = formatdate(seconds, usegmt=True)
        value = f"Sunday, {text[5:7]}-{text[8:11]}-{text[14:16]} {text[17:25]} GMT"
        parsed = parse_http_date(value.encode(), now)
        if parsed is not None:  # 29 February need not be in every century
            self.assertLessEqual(parsed - now, 50 * 366 * 86400)
            self.assertEqual(formatdate(parsed)[14:16], text[14:16])

    @given(
        st.binary() | st.from_regex(rb"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")
    )
    def test_never_fails(self, value: bytes):
        """Any value is parsed or refused; none raises an exception."""
        self.assertIsInstance(parse_http_date(value, NOW), int | None)
