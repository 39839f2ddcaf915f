"""
Streams: lines, end lines, parents, limits, and errors inside.
"""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import ReadFailed
from chatfiles.rules.listing_query import MAX_DEPTH
from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.open_directory import Found, OpenDirectory
from chatfiles.workspace.files.store import FileStore
from chatfiles.workspace.files.walk import Walk
from chatfiles.workspace.listing import lines as lines_module
from chatfiles.workspace.listing import turns
from chatfiles.workspace.listing.entry import entry
from chatfiles.workspace.listing.lines import line_of_one, lines
from tests.contract.file_store import NAMES, build, scratch, virtual

NOW = 1_800_000_000 * 10**9


class _Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = scratch(self)
        os.mkdir(self.top + b"/ws")
        self.store = FileStore({b"/workspace": self.top + b"/ws"}, DenyRules())
        self.addCleanup(self.store.close)

    def parts(self, most: int = 100, depth: int | None = None) -> list[bytes]:
        """:return: the parts of the stream of the root."""
        directory = self.store.open_directory(virtual(b"/workspace"))
        walk = Walk(directory, depth or MAX_DEPTH + 1)
        self.addCleanup(walk.close)
        return list(lines(walk, most, lambda: NOW, with_parents=depth != 1))

    def stream(self, most: int = 100, depth: int | None = None) -> tuple[list[Any], Any]:
        """:return: the entries, and the end line."""
        text = b"".join(self.parts(most, depth))
        self.assertTrue(text.endswith(b"\n"))
        *entries, end = [json.loads(line) for line in text[:-1].split(b"\n")]
        self.assertEqual(end["entries"], len(entries))
        self.assertIs(end["end"], True)
        return entries, end


class LineTests(_Case):
    """`lines`."""

    def test_tree(self) -> None:
        """Each entry has the ref of its directory, which comes before it."""
        build(self.top, {b"ws/a b/c/\xff": b"", b"ws/f": b""})
        entries, end = self.stream()
        self.assertEqual(end, {"end": True, "entries": 4, "complete": True})
        refs = {"/workspace"}
        for each in entries:
            self.assertIn(each["parent"], refs)
            self.assertTrue(each["ref"].startswith(each["parent"] + "/"))
            refs.add(each["ref"])
        self.assertIn("/workspace/a%20b/c/%FF", refs)

    def test_depth_of_one(self) -> None:
        """Without levels below there is no parent to name."""
        build(self.top, {b"ws/a/b": b""})
        (found,), end = self.stream(depth=1)
        self.assertNotIn("parent", found)
        self.assertEqual(end["complete"], True)

    def test_empty(self) -> None:
        """An empty directory is an end line."""
        self.assertEqual(self.stream(), ([], {"end": True, "entries": 0, "complete": True}))

    def test_names(self) -> None:
        """Every name is one line."""
        build(self.top, {b"ws/" + name: b"" for name in NAMES})
        entries, _ = self.stream()
        self.assertEqual(len(entries), len(NAMES))

    def test_too_many(self) -> None:
        """The limit is exact: that many entries are complete, one more is not."""
        build(self.top, {b"ws/%d/f" % number: b"" for number in range(3)})
        self.assertEqual(self.stream(6)[1], {"end": True, "entries": 6, "complete": True})
        for most in (0, 1, 5):
            end = {"end": True, "entries": most, "complete": False, "reason": "too_many_entries"}
            self.assertEqual(self.stream(most)[1], end)

    def test_hidden_not_counted(self) -> None:
        """What is hidden does not count."""
        build(self.top, {b"ws/.chatfiles-part-%d" % number: b"" for number in range(9)})
        build(self.top, {b"ws/f": b""})
        self.assertEqual(self.stream(1)[1]["complete"], True)

    def test_too_deep(self) -> None:
        """``too_deep`` only if everything was wanted, and level 64 has entries below it."""
        deep = b"ws/" + b"/".join([b"d"] * MAX_DEPTH)
        build(self.top, {deep + b"/f": b""})
        self.assertEqual(self.stream()[1]["reason"], "too_deep")
        self.assertEqual(self.stream(depth=MAX_DEPTH)[1]["complete"], True)
        self.assertEqual(self.stream(depth=3)[1], {"end": True, "entries": 3, "complete": True})
        self.assertEqual(self.stream(MAX_DEPTH)[1]["reason"], "too_deep")
        self.assertEqual(self.stream(MAX_DEPTH - 1)[1]["reason"], "too_many_entries")
        os.rename(self.top + b"/" + deep + b"/f", self.top + b"/" + deep + b"/.chatfiles-part-f")
        self.assertEqual(self.stream()[1]["complete"], True)

    def test_parts(self) -> None:
        """A part ends at its size, and at the end of a turn; no line is split."""
        build(self.top, {b"ws/%d" % number: b"" for number in range(10)})
        self.patch(lines_module, "PART_BYTES", 500)
        sized = self.parts()
        self.assertTrue(all(part.endswith(b"\n") for part in sized))
        self.assertLess(max(map(len, sized)), 1000)
        self.assertGreater(len(sized), 3)
        self.patch(lines_module, "PART_BYTES", 1 << 20)
        self.patch(turns, "NAMES_PER_TURN", 4)
        self.assertEqual([part.count(b"\n") for part in self.parts()], [4, 4, 3])

    def test_error_inside(self) -> None:
        """A directory that cannot be listed has an error, and the stream is complete."""
        build(self.top, {b"ws/d/f": b"", b"ws/e/f": b""})
        names = OpenDirectory.names

        def fails(directory: OpenDirectory) -> Any:
            if directory.path.name == b"d":
                raise ReadFailed
            return names(directory)

        self.patch(OpenDirectory, "names", fails)
        entries, end = self.stream()
        errors = {each["name"]: each.get("error") for each in entries if each["type"] != "file"}
        self.assertEqual(errors, {"d": "read failed", "e": None})
        self.assertEqual(end, {"end": True, "entries": 3, "complete": True})


class EntryTests(_Case):
    """`entry` and `line_of_one`."""

    def test_one(self) -> None:
        """The stream of a single path is its line and the end."""
        build(self.top, {b"ws/f": b"12"})
        path = virtual(b"/workspace/f")
        first, end = line_of_one(path, self.store.look(path), NOW).splitlines()
        self.assertEqual(json.loads(first)["ref"], "/workspace/f")
        self.assertEqual(json.loads(end), {"end": True, "entries": 1, "complete": True})

    def test_members(self) -> None:
        """The members come in the order of the reference; those that say nothing are absent."""
        build(self.top, {b"ws/\xff": b"12"})
        found = self.store.look(virtual(b"/workspace/\xff"))
        names = ["name", "ref", "name_base64", "parent", "type", "size", "mtime", "mode"]
        names += ["media_type", "etag"]
        self.assertEqual(list(entry(found, "ref", NOW, "above")), names)
        self.assertEqual(entry(found._replace(readable=False), "r", NOW)["readable"], False)

    def test_not_looked_at(self) -> None:
        """Of what could not be looked at, only its name and the error are known."""
        self.assertEqual(
            entry(Found(b"f", None, error="permission denied"), "/workspace/f", NOW),
            {
                "name": "f",
                "ref": "/workspace/f",
                "type": "other",
                "error": "permission denied",
            },
        )
