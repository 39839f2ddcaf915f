"""
Tests for `chatfiles.databases`, held against libpq itself.
"""

from __future__ import annotations

from importlib import import_module

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from chatfiles.databases import has_password

TABLE: tuple[tuple[str, bool], ...] = (
    ("postgresql://u:p@h/d", True),
    ("postgres://u:p@h/d", True),
    ("postgresql://:p@h", True),
    ("postgresql://u:p:q@h", True),
    ("postgresql://u:p?x@h:1,g:2/d", True),
    ("postgresql://u:%20@/d", True),
    ("postgresql:///d?password=p", True),
    ("postgresql://h?user=u&password=p", True),
    ("postgresql://u@h/d?pass%77ord=p", True),
    ("postgresql://h/d?sslpassword=p", True),
    ("postgresql://h/d?password=?", True),
    ("postgresql://[u?]?password=p", True),
    ("postgresql://u@h/d", False),
    ("postgresql://u:@h/d", False),
    ("postgresql://h:5432/d", False),
    ("postgresql://[::1]:5432/d", False),
    ("postgresql://h/d:e@f", False),
    ("postgresql://h/d?password=", False),
    ("postgresql://h/d?passfile=/f:x@y", False),
    ("sqlite:/u:p@h", False),
    ("", False),
)


class PasswordTests(SynchronousTestCase):
    """Whether a URL holds a password."""

    def setUp(self) -> None:
        try:
            self.psycopg2 = import_module("psycopg2")
            import_module("psycopg2.extensions")
        except ImportError:
            raise SkipTest("needs psycopg2") from None

    def test_table(self) -> None:
        """A password is not seen, or one is seen where there is none."""
        for url, expected in TABLE:
            self.assertIs(has_password(url), expected, url)

    @given(
        st.lists(
            st.sampled_from(
                [*":@/?&=%,[]ux", "h1", "%70", "user=", "password=", "sslpassword=", "?", "&", "@"]
            ),
            max_size=12,
        )
    )
    def test_libpq(self, parts: list[str]) -> None:
        """What libpq takes for a password is not seen."""
        url = "postgresql://" + "".join(parts)
        try:
            found = self.psycopg2.extensions.parse_dsn(url)
        except self.psycopg2.Error:
            return
        if found.get("password") or found.get("sslpassword"):
            self.assertIs(has_password(url), True, url)
