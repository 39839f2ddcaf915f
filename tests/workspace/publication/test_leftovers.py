"""
Tests for `chatfiles.workspace.publication.leftovers`: which files a sweep removes.
"""

from __future__ import annotations

import os

from chatfiles.workspace.publication.leftovers import sweep_below
from chatfiles.workspace.publication.unpublished_file import create_locked
from tests.workspace.publication.writing_case import WritingCase

LEFT = ".chatfiles-part-0123456789abcdef.part"


class SweepTests(WritingCase):
    """`sweep_below`."""

    def sweep(self, path: str = "out") -> int:
        root_fd = os.open(self.root, os.O_PATH)
        try:
            segments = [os.fsencode(each) for each in path.split("/") if each]
            return sweep_below(root_fd, segments)
        finally:
            os.close(root_fd)

    def test_tree(self) -> None:
        """Leftovers are removed at every depth, also in directories with odd names."""
        deep = "out/" + "/".join(["d"] * 100)
        for place in ("out", deep, os.fsdecode(b"out/\xff\xfe"), "out/secret"):
            self.write(f"{place}/{LEFT}", b"x")
            self.write(f"{place}/kept", b"x")
        self.assertEqual(self.sweep(), 4)
        self.assertEqual(sorted(os.listdir(self.at(deep))), ["kept"])
        self.assertEqual(self.sweep(), 0)

    def test_others_stay(self) -> None:
        """Nothing else is removed: files of resumable uploads, other names, directories, links."""
        names = {
            ".chatfiles-part-0123456789abcdef",
            ".chatfiles-part-0123456789abcdef.json",
            ".chatfiles-part-.part",
            ".chatfiles-part-xyz.part",
            "x" + LEFT,
            LEFT + ".txt",
        }
        for name in names:
            self.write(f"out/{name}", b"x")
        self.write(f"other/{LEFT}", b"x")
        os.mkdir(self.at("out/.chatfiles-part-01.part"))
        os.symlink(self.at("other"), self.at("out/link"))
        os.symlink(self.at(f"other/{LEFT}"), self.at("out/.chatfiles-part-02.part"))
        os.mkfifo(self.at("out/.chatfiles-part-03.part"))
        before = sorted(os.listdir(self.at("out")))
        self.assertEqual(self.sweep(), 0)
        self.assertEqual(sorted(os.listdir(self.at("out"))), before)
        self.assertTrue(os.path.exists(self.at(f"other/{LEFT}")))

    def test_locked(self) -> None:
        """A file that a process still writes is kept."""
        directory_fd = os.open(self.at("out"), os.O_PATH)
        fd, name = create_locked(directory_fd, ".part")
        self.assertEqual(self.sweep(), 0)
        self.assertEqual(os.listdir(self.at("out")), [name])
        os.close(fd)
        self.assertEqual(self.sweep(), 1)
        os.close(directory_fd)

    def test_missing(self) -> None:
        """A prefix that does not exist, or is a symlink, has no leftovers."""
        os.symlink("out", self.at("link"))
        self.write(f"out/{LEFT}", b"x")
        for path in ("none", "link", f"out/{LEFT}"):
            self.assertEqual(self.sweep(path), 0)
        self.assertEqual(self.sweep(""), 1)
