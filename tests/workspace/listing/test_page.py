"""
Pages: order, cursors, names that are hidden or vanish, and the promise about names that exist
throughout.
"""

from __future__ import annotations

import json
import os
import random
from base64 import b64decode
from collections.abc import Iterator
from itertools import chain
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import ReadFailed
from chatfiles.rules.entry_json import decode_cursor
from chatfiles.workspace.files import open_directory
from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.open_directory import OpenDirectory
from chatfiles.workspace.files.store import FileStore
from chatfiles.workspace.listing import page as page_module
from chatfiles.workspace.listing import turns
from chatfiles.workspace.listing.known_names import KnownNames, Version
from chatfiles.workspace.listing.page import page
from chatfiles.workspace.listing.turns import Turn
from tests.contract.file_store import NAMES, build, scratch, virtual
from tests.support.descriptors import open_below

NOW = 1_800_000_000 * 10**9
FILE_NAMES = st.binary(min_size=1, max_size=3).filter(
    lambda name: not {0, b"/"[0]} & set(name) and name not in (b".", b"..")
)


class _Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = scratch(self)
        os.mkdir(self.top + b"/ws")
        build(self.top, {b"credential": b"t"})
        self.store = FileStore(
            {b"/workspace": self.top + b"/ws"},
            DenyRules([b"/workspace/deny*"]),
            [self.top + b"/credential"],
        )
        self.addCleanup(self.store.close)
        self.known = KnownNames()

    def page(self, limit: int = 1000, after: bytes | None = None) -> Any:
        """:return: a page of the root, parsed."""
        with self.store.open_directory(virtual(b"/workspace")) as directory:
            *_, text = page(directory, limit, after, lambda: NOW, self.known)
        self.assertTrue(text.endswith(b"}\n"))
        return json.loads(text)

    def pages(self, limit: int) -> Iterator[list[bytes]]:
        """Yield the names of each page."""
        after = None
        while True:
            got = self.page(limit, after)
            yield [name_of(entry) for entry in got["entries"]]
            if "next" not in got:
                return
            after = decode_cursor(got["next"].encode())
            assert after is not None


def name_of(entry: Any) -> bytes:
    """:return: the name of an entry, in bytes."""
    return b64decode(entry["name_base64"]) if "name_base64" in entry else entry["name"].encode()


class PageTests(_Case):
    """`page`."""

    def test_whole(self) -> None:
        """All entries, sorted by their bytes, with what the page itself is of."""
        build(self.top, {b"ws/" + name: b"" for name in NAMES})
        got = self.page()
        self.assertEqual(list(got), ["path", "ref", "entries"])
        self.assertEqual((got["path"], got["ref"]), ("/workspace", "/workspace"))
        self.assertEqual([name_of(each) for each in got["entries"]], sorted(NAMES))

    def test_empty(self) -> None:
        """An empty directory has no entries, and no further page."""
        self.assertEqual(self.page(1)["entries"], [])
        self.assertNotIn("next", self.page(1))

    def test_limits(self) -> None:
        """Each page but the last is full; an exact fit has no further page."""
        build(self.top, {b"ws/%d" % number: b"" for number in range(6)})
        for limit in range(1, 8):
            pages = list(self.pages(limit))
            self.assertEqual(len(pages), -(-6 // limit))
            self.assertEqual([len(each) for each in pages[:-1]], [limit] * (len(pages) - 1))
            self.assertEqual([*chain(*pages)], [b"%d" % number for number in range(6)])

    def test_cursor(self) -> None:
        """A cursor is a name: it need not exist, and may lie before or behind all names."""
        build(self.top, {b"ws/b": b"", b"ws/d": b""})
        for after, names in (
            (b"a", [b"b", b"d"]),
            (b"b", [b"d"]),
            (b"b!", [b"d"]),
            (b"c", [b"d"]),
            (b"d", []),
            (b"\xff" * 255, []),
        ):
            got = self.page(after=after)
            self.assertEqual([name_of(each) for each in got["entries"]], names, after)

    def test_hidden(self) -> None:
        """Hidden names take no place in a page, and no cursor names them."""
        build(self.top, {b"ws/%c" % letter: b"" for letter in b"acegi"})
        build(self.top, {b"ws/deny%d" % number: b"" for number in range(10)})
        for name in (b"b", b"f", b"h"):
            os.link(self.top + b"/credential", self.top + b"/ws/" + name)
        after = None
        for names in ([b"a", b"c"], [b"e", b"g"], [b"i"]):
            got = self.page(2, after)
            self.assertEqual([name_of(each) for each in got["entries"]], names)
            if "next" in got:
                after = decode_cursor(got["next"].encode())
                self.assertEqual(after, names[-1])
        self.assertNotIn("next", got)

    def test_only_hidden(self) -> None:
        """A directory in which everything is hidden is empty, however small the page."""
        for number in range(20):
            os.link(self.top + b"/credential", self.top + b"/ws/%d" % number)
        got = self.page(3)
        self.assertEqual((got["entries"], "next" in got), ([], False))

    def test_hidden_behind(self) -> None:
        """A page is the last one if only hidden files are behind it, however many."""
        build(self.top, {b"ws/a": b"", b"ws/b": b""})
        for number in range(20):
            os.link(self.top + b"/credential", self.top + b"/ws/c%02d" % number)
        for kept in (1, 1024):
            self.patch(page_module, "_KEPT", kept)
            self.assertIn("next", self.page(1))
            self.assertNotIn("next", self.page(2))
        build(self.top, {b"ws/d": b""})
        self.assertEqual([*self.pages(2)], [[b"a", b"b"], [b"d"]])

    def test_readings(self) -> None:
        """Many hidden files do not need many readings of the directory."""
        for number in range(200):
            os.link(self.top + b"/credential", self.top + b"/ws/%d" % number)
        batches, readings = OpenDirectory.batches, []

        def counted(directory: OpenDirectory) -> Any:
            readings.append(directory)
            return batches(directory)

        self.patch(OpenDirectory, "batches", counted)
        self.assertNotIn("next", self.page(1))
        self.assertEqual(len(readings), 1)

    def test_vanishing(self) -> None:
        """Entries that vanish before they are looked at are replaced by the next."""
        build(self.top, {b"ws/%d" % number: b"" for number in range(9)})
        look = OpenDirectory.look

        def late(directory: OpenDirectory, name: bytes) -> Any:
            if int(name) < 4:
                os.unlink(self.top + b"/ws/" + name)
            return look(directory, name)

        self.patch(OpenDirectory, "look", late)
        got = self.page(3)
        self.assertEqual([name_of(each) for each in got["entries"]], [b"4", b"5", b"6"])
        self.assertEqual(decode_cursor(got["next"].encode()), b"6")

    def test_name_given_twice(self) -> None:
        """A name that a changing directory gives twice is one entry."""
        build(self.top, {b"ws/%d" % number: b"" for number in range(3)})
        batches = OpenDirectory.batches

        def twice(directory: OpenDirectory) -> Any:
            yield from batches(directory)
            yield from batches(directory)

        self.patch(OpenDirectory, "batches", twice)
        self.assertEqual([*self.pages(2)], [[b"0", b"1"], [b"2"]])

    def test_unreadable(self) -> None:
        """An error while names are read is raised, and nothing stays open."""
        directory = self.store.open_directory(virtual(b"/workspace"))
        self.addCleanup(directory.close)
        before = open_below(self.top)

        def fails(_: OpenDirectory) -> Iterator[list[bytes]]:
            yield [b"a"]
            raise ReadFailed

        self.patch(OpenDirectory, "batches", fails)
        making = page(directory, 1, None, lambda: NOW, self.known)
        self.assertRaises(ReadFailed, list, making)
        self.assertEqual(open_below(self.top), before)

    def test_turns(self) -> None:
        """A large directory is read in several turns, and looked at in several."""
        build(self.top, {b"ws/%d" % number: b"" for number in range(30)})
        self.patch(open_directory, "BATCH", 4)
        self.patch(turns, "NAMES_PER_TURN", 8)
        with self.store.open_directory(virtual(b"/workspace")) as directory:
            parts = list(page(directory, 20, None, lambda: NOW, self.known))
        self.assertEqual(parts[:-1], [b""] * ((30 + 20) // 8))
        self.assertEqual(len(json.loads(parts[-1])["entries"]), 20)

    def test_given_up(self) -> None:
        """A page that is given up in the middle leaves nothing open but the directory."""
        build(self.top, {b"ws/%d" % number: b"" for number in range(30)})
        self.patch(open_directory, "BATCH", 4)
        self.patch(turns, "NAMES_PER_TURN", 8)
        with self.store.open_directory(virtual(b"/workspace")) as directory:
            before = open_below(self.top)
            making = page(directory, 20, None, lambda: NOW, self.known)
            next(making)
            making.close()
            self.assertEqual(open_below(self.top), before)


class SmallestTests(SynchronousTestCase):
    """`_Smallest`."""

    @given(st.lists(FILE_NAMES, max_size=60), FILE_NAMES, st.integers(1, 12), st.integers(1, 9))
    def test_like_sorting_all(
        self, names: list[bytes], after: bytes, most: int, at_once: int
    ) -> None:
        """The smallest names behind one, whatever their order, and in whatever pieces."""
        self.patch(page_module, "_MERGED", 2)
        self.patch(page_module, "_PIECE", 3)
        smallest = page_module._Smallest(most, after)
        for start in range(0, len(names), at_once):
            smallest.add(names[start : start + at_once], lambda name: name.startswith(b"a"))
        found = smallest.found()
        expected = sorted({name for name in names if name > after and name[:1] != b"a"})
        self.assertEqual(found.names, expected[: len(found.names)])
        self.assertTrue(not found.is_last or found.names == expected)
        if len(set(names)) == len(names):  # a name that is given twice may take a place
            self.assertEqual(len(found.names), min(most, len(expected)))
            self.assertEqual(found.is_last, len(expected) <= most)


class PromiseTests(_Case):
    """Names that exist throughout are in one page exactly, others at most in one."""

    @settings(max_examples=40, deadline=None)
    @given(
        st.sets(FILE_NAMES, max_size=20),
        st.lists(FILE_NAMES, max_size=20),
        st.integers(1, 5),
        st.randoms(use_true_random=False),
    )
    def test_changes(
        self, stable: set[bytes], changing: list[bytes], limit: int, chance: random.Random
    ) -> None:
        """Whatever is added and deleted between the pages."""
        self.setUp()
        names = [name for name in {*stable} if not name.startswith(b"deny")]
        others = [name for name in changing if name not in stable]
        for name in (*names, *others):
            open(self.top + b"/ws/" + name, "wb").close()
        seen: list[bytes] = []
        for got in self.pages(limit):
            seen += got
            for name in chance.sample(others, min(3, len(others))):
                _toggle(self.top + b"/ws/" + name)
        self.assertEqual(len(seen), len(set(seen)))
        self.assertEqual(seen, sorted(seen))
        self.assertEqual({name for name in seen if name in names}, set(names))


class KnownNamesTests(_Case):
    """What a page keeps for the next one."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(page_module, "_LARGE", 1)
        self.patch(page_module, "_KEPT", 1)
        self.patch(page_module, "READ_AHEAD", 5)
        self.changes = 0
        self.settled = True
        self.patch(page_module, "settled_version", self.version)
        self.readings = 0
        batches = OpenDirectory.batches

        def counted(directory: OpenDirectory) -> Any:
            self.readings += 1
            return batches(directory)

        self.patch(OpenDirectory, "batches", counted)

    def version(self, *_: object) -> Version | None:
        """:return: as `settled_version`, but each change is certain to show."""
        return Version(b"/workspace", 1, 2, self.changes, 4) if self.settled else None

    def test_next_pages(self) -> None:
        """A second page reads ahead: the next ones, and those before, read nothing."""
        build(self.top, {b"ws/%02d" % number: b"" for number in range(20)})
        readings = []
        for _ in self.pages(2):
            readings.append(self.readings)
        # The first page keeps 3 names, later ones 5.  A page reads when it looks behind them.
        self.assertEqual(readings, [1, 2, 2, 3, 3, 3, 4, 4, 5, 5])
        before = self.readings
        self.assertEqual(len([*self.pages(2)]), 10)
        self.assertEqual(self.readings, before)

    def test_small_or_changing(self) -> None:
        """Nothing is kept of a small directory, nor of one that has just changed."""
        build(self.top, {b"ws/%02d" % number: b"" for number in range(20)})
        self.patch(page_module, "_LARGE", 21)
        self.assertEqual((len([*self.pages(2)]), self.readings), (10, 10))
        self.patch(page_module, "_LARGE", 1)
        self.settled = False
        self.assertEqual((len([*self.pages(2)]), self.readings), (10, 20))

    def test_entries_are_fresh(self) -> None:
        """What lies at a name is looked at again, and so is whether it is hidden."""
        build(self.top, {b"ws/%02d" % number: b"" for number in range(4)})
        first = self.page(9)
        with open(self.top + b"/ws/01", "wb") as file:
            file.write(b"more")
        os.unlink(self.top + b"/ws/02")  # the version stays, as on no real file system
        self.patch(self.store, "is_hidden", lambda _, raw: raw.endswith(b"03"))
        again = self.page(9)
        self.assertEqual(self.readings, 1)
        self.assertEqual([len(first["entries"]), len(again["entries"])], [4, 2])
        self.assertEqual(again["entries"][1]["size"], 4)

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.sampled_from(["page", "change", "settle"]), max_size=20),
        st.sets(FILE_NAMES, max_size=20),
        st.randoms(use_true_random=False),
    )
    def test_like_plain_pages(
        self, steps: list[str], names: set[bytes], chance: random.Random
    ) -> None:
        """A page is what it is without names that were kept, whatever has changed meanwhile."""
        self.setUp()
        build(self.top, {b"ws/" + name: b"" for name in names})
        after = None
        for step in steps:
            if step == "settle":
                self.settled = not self.settled
            elif step == "change" and names:
                self.changes += 1
                _toggle(self.top + b"/ws/" + chance.choice(sorted(names)))
            else:
                limit = chance.randint(1, 6)
                got = self.page(limit, after)
                kept, self.known = self.known, KnownNames()
                self.assertEqual(got, self.page(limit, after))
                self.known = kept
                after = chance.choice([None, *names, got.get("next", "").encode()])
                after = decode_cursor(after) if after not in (None, *names) else after


def _toggle(path: bytes) -> None:
    """Delete a file, or make it."""
    if os.path.exists(path):
        os.unlink(path)
    else:
        open(path, "wb").close()


class TurnTests(SynchronousTestCase):
    """`Turn`."""

    def test_names_and_seconds(self) -> None:
        """A turn ends after 4096 names or 20 ms, and the next one begins from there."""
        now = [5.0]
        turn = Turn(lambda: now[0])
        self.assertFalse(turn.is_over(4095))
        self.assertTrue(turn.is_over())
        turn.begin()
        now[0] += 0.019
        self.assertFalse(turn.is_over(0))
        now[0] += 0.002
        self.assertTrue(turn.is_over(0))
