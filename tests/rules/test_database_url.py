"""
Tests for `chatfiles.rules.database_url`, compared with libpq itself.
"""

from __future__ import annotations

import re
from importlib import import_module

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from chatfiles.rules.database_url import has_password, without_password

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


SHOWN: tuple[tuple[str, str], ...] = (
    ("postgresql://u:p@h:1,g:2/d?sslmode=require", "postgresql://h:1,g:2/d"),
    ("postgres://u:p:q?r@[::1]:1/d", "postgres://[::1]:1/d"),
    ("postgresql://h/d?password=p/q", "postgresql://h/d"),
    ("postgresql://h/d?password=p@q/r", "postgresql://…"),
    ("postgresql://u:p/q@h/d", "postgresql://…"),
    ("postgresql://u:p/q?r@h/d", "postgresql://…"),
    ("postgresql:///d", "postgresql:///d"),
    ("postgresql://", "postgresql://"),
    ("sqlite:/u:p@h?x", "sqlite:/u:p@h?x"),
    ("", ""),
)
#: Stands for a word that occurs only once.
WORD = "word"
#: Parts that have a meaning in a URL.
PARTS = [*":@/?&=%,[]ux", *"?&@", "h1", "%70", "user=", "password=", "sslpassword=", WORD, WORD]


class PasswordTests(SynchronousTestCase):
    """Whether a URL contains a password, and how it is shown without one."""

    def setUp(self) -> None:
        try:
            self.psycopg2 = import_module("psycopg2")
            import_module("psycopg2.extensions")
        except ImportError:
            raise SkipTest("needs psycopg2") from None

    def test_table(self) -> None:
        """A password is found if and only if the URL contains one."""
        for url, expected in TABLE:
            self.assertIs(has_password(url), expected, url)

    @given(st.lists(st.sampled_from(PARTS), max_size=12))
    def test_libpq(self, parts: list[str]) -> None:
        """What libpq reads as a password is found, and is not shown."""
        url = "postgresql://" + "".join(
            f"_{number}_" if each == WORD else each for number, each in enumerate(parts)
        )
        try:
            found = self.psycopg2.extensions.parse_dsn(url)
        except self.psycopg2.Error:
            return
        secrets = found.get("password", "") + found.get("sslpassword", "")
        if secrets:
            self.assertIs(has_password(url), True, url)
        for word in re.findall("_[0-9]+_", secrets):
            self.assertNotIn(word, without_password(url), url)

    def test_shown(self) -> None:
        """A URL is shown without a password, but with what identifies the database."""
        for url, expected in SHOWN:
            self.assertEqual(without_password(url), expected, url)
