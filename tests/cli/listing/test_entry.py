"""
Entries of a listing, as JSON describes them.
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote_from_bytes

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.cli.errors import CliError
from chatfiles.cli.listing.entry import parse_entry, visible
from chatfiles.client.core.errors import BadAnswer

NAMES = st.binary(min_size=1, max_size=20).filter(
    lambda name: not set(name) & {0, 0x2F} and name not in (b".", b"..")
)


def described(name: bytes, **more: Any) -> dict[str, Any]:
    """:return: the JSON object of a file called *name* in ``/workspace``."""
    entry = {
        "name": name.decode("utf-8", "replace"),
        "ref": quote_from_bytes(b"/workspace/" + name),
        "type": "file",
        "size": 3,
        "mtime": "2026-11-29T10:02:03.123456789Z",
        "mode": "0644",
        **more,
    }
    if entry["name"].encode() != name:
        entry["name_base64"] = base64.b64encode(name).decode()
    return entry


class ParseTests(SynchronousTestCase):
    """`parse_entry`."""

    def refused(self, value: object) -> None:
        """Assert that *value* is no entry."""
        self.assertRaises(BadAnswer, parse_entry, value)

    @given(NAMES)
    def test_names(self, name: bytes) -> None:
        """Every name of a file is read as its bytes, whether it is UTF-8 or not."""
        entry = parse_entry(described(name))
        self.assertEqual((entry.name, entry.path), (name, b"/workspace/" + name))
        self.assertEqual(entry.below(b"/workspace"), name)

    def test_values(self) -> None:
        """Times are exact nanoseconds, also before 1970; modes are octal."""
        entry = parse_entry(described(b"a", etag='W/"x"', mode="4755"))
        self.assertEqual(entry.mtime_ns, 1795946523123456789)
        self.assertEqual((entry.size, entry.mode, entry.etag), (3, 0o4755, 'W/"x"'))
        entry = parse_entry(described(b"a", mtime="1969-12-31T23:59:59.000000001Z"))
        self.assertEqual(entry.mtime_ns, -(10**9) + 1)

    def test_kinds(self) -> None:
        """An entry of a kind that is not known is neither read nor refused."""
        for kind in ("directory", "symlink", "other"):
            self.assertEqual(parse_entry(described(b"a", type=kind)).kind, kind)
        self.assertEqual(parse_entry(described(b"a", type="door")).kind, "other")

    def test_error(self) -> None:
        """An entry that the workspace could not look at has a name and an error only."""
        value = {"name": "a", "ref": "/workspace/a", "error": "permission denied", "type": "file"}
        entry = parse_entry(value)
        self.assertEqual((entry.error, entry.size, entry.mode), ("permission denied", None, None))

    def test_no_name(self) -> None:
        """A name that is no segment of a path, or is not that of the reference, is refused."""
        for name in (b"", b".", b"..", b"a\0", b"x" * 256):
            self.refused(described(name))
        self.refused(described(b"a/b"))
        self.refused(described(b"a") | {"name": "b"})
        self.refused(described(b"a") | {"name": "\ud800"})
        self.refused(described(b"a") | {"name_base64": "?"})
        self.refused(described(b"a") | {"ref": 1})

    def test_malformed(self) -> None:
        """Whatever else is malformed is refused."""
        self.refused(None)
        self.refused([])
        for more in (
            {"size": None},
            {"size": -1},
            {"size": True},
            {"size": "3"},
            {"mode": "644"},
            {"mode": 420},
            {"mtime": 1795946523},
            {"mtime": "2026-11-29T10:02:03Z"},
            {"mtime": "2026-13-29T10:02:03.123456789Z"},
            {"etag": 1},
        ):
            self.refused(described(b"a", **more))

    def test_below(self) -> None:
        """A path that leads out of a directory, or is not below it, is refused."""
        self.refused(described(b"a", ref="/workspace/../a"))
        for ref in ("/workspace//a", "/workspace2/a", "/home/workspace/a", "/a"):
            entry = parse_entry(described(b"a", ref=ref))
            self.assertRaises(CliError, entry.below, b"/workspace")
        entry = parse_entry(described(b"a", ref="/workspace/d%2Fe/a"))
        self.assertEqual(entry.below(b"/workspace"), b"d/e/a")

    def test_visible(self) -> None:
        """What could control a terminal, or is not UTF-8, is escaped."""
        self.assertEqual(visible("ä\x1b[2J\n".encode() + b"\xff"), "ä\\x1b[2J\\n\\xff")
