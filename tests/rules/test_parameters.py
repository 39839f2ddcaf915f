"""
Parameters that may be given once, and numbers.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import BadRequest
from chatfiles.rules.parameters import invalid, number, single
from chatfiles.rules.query import parse_query


def limit(query: bytes) -> int:
    """:return: the number that the query gives as ``limit``, from 1 to 10000."""
    return number(parse_query(query), "limit", 1, 10_000, 1000)


class SingleTests(SynchronousTestCase):
    """`single`."""

    def test_values(self) -> None:
        """The value; ``None`` without one; an empty one is a value."""
        for query, value in (
            (b"", None),
            (b"a=1", b"1"),
            (b"a=", b""),
            (b"a", b""),
            (b"b=1", None),
        ):
            self.assertEqual(single(parse_query(query), "a"), value)

    def test_repeated(self) -> None:
        """A parameter that is given twice is refused, even with equal values."""
        for query in (b"a=1&a=1", b"a=&a=", b"a&%61=x"):
            error = self.assertRaises(BadRequest, single, parse_query(query), "a")
            assert isinstance(error, BadRequest)
            self.assertEqual(
                (error.text, error.code), ("a must be given once", "parameter_repeated")
            )
            self.assertEqual(error.status, 400)


class NumberTests(SynchronousTestCase):
    """`number`."""

    def test_valid(self) -> None:
        """Decimal digits within the bounds; the default if it is not given."""
        for query, value in (
            (b"", 1000),
            (b"limit=1", 1),
            (b"limit=10000", 10_000),
            (b"limit=%31", 1),
            (b"limit=007", 7),
        ):
            self.assertEqual(limit(query), value)

    def test_invalid(self) -> None:
        """Anything else is 400, and the text names the parameter."""
        for value in (
            b"",
            b"0",
            b"10001",
            b"-1",
            b"+1",
            b"%2B1",
            b"1.0",
            b"1e3",
            b"0x10",
            b"1_000",
            b"1%00",
            b"1%0A",
            b"%D9%A1",  # an Arabic digit
            b"9" * 5000,
        ):
            error = self.assertRaises(BadRequest, limit, b"limit=" + value)
            assert isinstance(error, BadRequest)
            self.assertEqual((error.text, error.code), ("invalid limit", "invalid_limit"), value)

    def test_repeated(self) -> None:
        """A repeated number is told as repeated, not as invalid."""
        error = self.assertRaises(BadRequest, limit, b"limit=x&limit=y")
        assert isinstance(error, BadRequest)
        self.assertEqual(error.code, "parameter_repeated")

    @given(st.binary(max_size=20))
    def test_any_bytes(self, value: bytes) -> None:
        """Whatever is given, the result is within the bounds, or the error is 400."""
        try:
            self.assertTrue(1 <= number({b"limit": [value]}, "limit", 1, 10_000, 1) <= 10_000)
        except BadRequest as error:
            self.assertEqual(error.code, "invalid_limit")

    def test_other_errors(self) -> None:
        """`invalid` makes the same error for values that are no numbers."""
        self.assertEqual(
            (invalid("after").text, invalid("after").code), ("invalid after", "invalid_after")
        )
