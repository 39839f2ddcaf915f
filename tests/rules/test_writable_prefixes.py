"""
Tests for `chatfiles.rules.writable_prefixes`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import Forbidden
from chatfiles.rules.virtual_paths import check_form
from chatfiles.rules.writable_prefixes import WritablePrefixes, prefix


class PrefixTests(SynchronousTestCase):
    """The values of ``--writable`` and ``--write-in-place``."""

    def test_values(self) -> None:
        """A prefix is a directory at or below a root; a slash at its end adds nothing."""
        for value, expected in (
            (b"/workspace", b"/workspace"),
            (b"/workspace/", b"/workspace"),
            (b"/home/me/out", b"/home/me/out"),
            (b"/configs", b"/configs"),
            (b"/workspace/\xff", b"/workspace/\xff"),
        ):
            self.assertEqual(prefix(value), expected)
        for value in (b"", b"/", b"workspace", b"/tmp", b"/workspace/../x", b"/workspace//x", b"*"):
            self.assertRaises(ValueError, prefix, value)

    def test_allowed(self) -> None:
        """What is at or below a prefix may be written; a longer name is something else."""
        prefixes = WritablePrefixes([b"/workspace/out", b"/home"], [b"/home/fuse"])
        table = {
            b"/workspace/out/x": (True, False, False),
            b"/workspace/out/a/b": (True, False, False),
            b"/workspace/out": (True, True, False),
            b"/workspace/outside": (False, False, False),
            b"/workspace": (False, False, False),
            b"/configs/x": (False, False, False),
            b"/home": (True, True, False),
            b"/home/x": (True, False, False),
            b"/home/fuse": (True, True, True),
            b"/home/fuse/x": (True, False, True),
        }
        for raw, (writable, itself, in_place) in table.items():
            path = check_form([raw])
            if writable:
                prefixes.require(path)
            else:
                error = self.assertRaises(Forbidden, prefixes.require, path)
                self.assertEqual((error.text, error.code), ("path is not writable", "not_writable"))
            self.assertEqual(prefixes.include(path), itself, raw)
            self.assertEqual(prefixes.write_in_place(path), in_place, raw)

    def test_none(self) -> None:
        """Without a prefix, nothing may be written."""
        self.assertRaises(Forbidden, WritablePrefixes().require, check_form([b"/workspace/x"]))

    def test_of_root(self) -> None:
        """Each root has its own prefixes, in the order in which they were named, once."""
        prefixes = WritablePrefixes([b"/workspace/b", b"/home", b"/workspace/a", b"/home"])
        self.assertEqual(list(prefixes), [b"/workspace/b", b"/home", b"/workspace/a"])
        self.assertEqual(prefixes.of_root(b"/workspace"), [b"/workspace/b", b"/workspace/a"])
        self.assertEqual(prefixes.of_root(b"/home"), [b"/home"])
        self.assertEqual(prefixes.of_root(b"/configs"), [])
