"""
Which certificate serves a name that a client asks for.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.server_names import DEFAULT, find_name

KNOWN = ("default", "files.test", "_.files.test", "a.b.test", "_.b.test", "localhost")


class FindTests(SynchronousTestCase):
    """`find_name`."""

    def test_table(self) -> None:
        """The same name, else a wildcard for exactly one label, else the default."""
        for requested, found in (
            (b"files.test", "files.test"),
            (b"FILES.Test", "files.test"),
            (b"x.files.test", "_.files.test"),
            (b"a.b.test", "a.b.test"),
            (b"c.b.test", "_.b.test"),
            (b"y.x.files.test", DEFAULT),
            (b"b.test", DEFAULT),
            (b"localhost", "localhost"),
            (b"other.test", DEFAULT),
            (b"default", DEFAULT),
            (b"_.files.test", "_.files.test"),
            (b"", DEFAULT),
            (b".files.test", DEFAULT),
            (b"f\xc3\xa4.test", DEFAULT),
            (None, DEFAULT),
        ):
            self.assertEqual(find_name(requested, KNOWN), found, requested)

    @given(st.binary(max_size=40))
    def test_any(self, requested: bytes) -> None:
        """Whatever a client sends, the result is a known name."""
        self.assertIn(find_name(requested, KNOWN), KNOWN)
