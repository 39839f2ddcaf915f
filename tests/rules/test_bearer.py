"""
Bearer tokens: their form, and their comparison.
"""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from chatfiles.rules.bearer import bearer, is_token, same_secret


class BearerTests(SynchronousTestCase):
    """`bearer`, which reads ``Authorization``."""

    def test_table(self) -> None:
        """
        A token is found in one ``Authorization`` line of the scheme ``Bearer``, and nowhere else.
        """
        for values, token in [
            ([], None),
            ([b""], None),
            ([b"Bearer"], None),
            ([b"Bearer "], None),
            ([b"Bearer abc"], "abc"),
            ([b"bearer abc"], "abc"),
            ([b"BEARER   abc"], "abc"),
            ([b"Bearer a.b-c_d~e+f/g=="], "a.b-c_d~e+f/g=="),
            ([b"Bearer\tabc"], None),
            ([b"Bearerabc"], None),
            ([b"Bearer abc def"], None),
            ([b"Bearer abc, Bearer def"], None),
            ([b"XBearer abc"], None),
            ([b"Basic YWJj"], None),
            ([b"Token abc"], None),
            ([b"abc"], None),
            ([b"Bearer a\x00b"], None),
            ([b"Bearer abc", b"Bearer abc"], None),
            ([b"Basic x", b"Bearer abc"], None),
            (["Bearer ä".encode()], "ä"),
            ([b"Bearer \xff"], "\udcff"),
        ]:
            headers = Headers({b"Authorization": values} if values else {})
            self.assertEqual(bearer(headers), token, values)

    def test_no_other_field(self) -> None:
        """
        No header but ``Authorization`` is read, least of all those that browsers send by
        themselves.
        """
        names = (b"Cookie", b"Proxy-Authorization", b"Referer", b"X-Authorization")
        self.assertIsNone(bearer(Headers({name: [b"Bearer abc"] for name in names})))


class TokenTests(SynchronousTestCase):
    """`is_token`."""

    def test_table(self) -> None:
        """A text is a token only if it can be sent in a header and is read back unchanged."""
        for value in ("a", "a.b-c_d~e+f/g==", "!", "~", "x" * 10_000):
            self.assertTrue(is_token(value), value)
            self.assertEqual(bearer(Headers({"Authorization": [f"Bearer {value}"]})), value)
        for other in (None, b"a", 1, "", " ", "a b", "a\n", "a\0", "a\x7f", "\u00e4", "\udcff"):
            self.assertFalse(is_token(other), other)


class SameSecretTests(SynchronousTestCase):
    """`same_secret`."""

    @given(st.text(), st.text())
    @example("a", "a")
    @example("", "")
    @example("a", "")
    @example("", "a")
    @example("a", "A")
    @example("a", "a ")
    @example("\u00e9", "e\u0301")
    @example("\udcff", "\udcff")
    @example("\udcff", "\ufffd")
    def test_equality(self, presented: str, expected: str) -> None:
        """Two secrets are the same if they are equal and not empty."""
        self.assertEqual(same_secret(presented, expected), presented == expected != "")
        self.assertEqual(same_secret(expected, expected), expected != "")
