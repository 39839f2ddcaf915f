"""
Names that are kept for the next pages: what is found, what is dropped, and when a directory counts
as settled.
"""

from __future__ import annotations

import os
import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.open_directory import OpenDirectory
from chatfiles.workspace.files.store import FileStore
from chatfiles.workspace.listing import known_names as module
from chatfiles.workspace.listing.known_names import KnownNames, Names, Version, settled_version
from tests.contract.file_store import scratch, virtual

VERSION = Version(b"/workspace", 1, 2, 3, 4)
NAMES = st.binary(min_size=1, max_size=3).filter(lambda name: not {0, b"/"[0]} & set(name))


class KnownNamesTests(SynchronousTestCase):
    """`KnownNames`."""

    def test_nothing_known(self) -> None:
        """Nothing is known of another version, or of where nothing was read."""
        known = KnownNames()
        self.assertIsNone(known.behind(VERSION, b""))
        known.keep(VERSION, Names(b"b", [b"c", b"d"], False))
        self.assertIsNone(known.behind(VERSION, b"a"))
        self.assertIsNone(known.behind(VERSION, b"d"))
        self.assertEqual(known.behind(VERSION, b"b"), Names(b"b", [b"c", b"d"], False))
        for other in (
            VERSION._replace(path=b"/home"),
            VERSION._replace(device=9),
            VERSION._replace(inode=9),
            VERSION._replace(mtime_ns=9),
            VERSION._replace(ctime_ns=9),
        ):
            self.assertIsNone(known.behind(other, b"b"))

    def test_no_names(self) -> None:
        """No names are not kept: there would be nothing to find."""
        known = KnownNames()
        known.keep(VERSION, Names(b"", [], True))
        self.assertIsNone(known.behind(VERSION, b""))

    @given(st.sets(NAMES, min_size=1), st.binary(max_size=3), st.binary(max_size=3), st.booleans())
    def test_behind(self, all_names: set[bytes], start: bytes, after: bytes, is_last: bool) -> None:
        """What is found is exactly what comes next, or nothing."""
        names = [name for name in sorted(all_names) if name > start]
        known = KnownNames()
        known.keep(VERSION, Names(start, names, is_last))
        found = known.behind(VERSION, after)
        expected = [name for name in names if name > after]
        if found is None:
            self.assertTrue(after < start or not names or not (expected or is_last))
        else:
            self.assertEqual(found, Names(after, expected, is_last))
            self.assertTrue(after >= start and (expected or is_last))

    @given(st.integers(0, 40), st.integers(0, 41), st.booleans())
    def test_blocks(self, count: int, after: int, is_last: bool) -> None:
        """Names are found a block at a time, and only the last block is the end of a directory."""
        self.patch(module, "BLOCK", 4)
        names = [b"%02d" % number for number in range(count)]
        known = KnownNames()
        known.keep(VERSION, Names(b"", names, is_last))
        seen, is_end = [], False
        start = b"%02d" % after
        while not is_end and (found := known.behind(VERSION, start)) is not None:
            self.assertTrue(len(found.names) <= 4 and (found.names or found.is_last))
            seen += found.names
            start, is_end = found.names[-1] if found.names else start, found.is_last
        self.assertEqual(seen, names[after + 1 :])
        self.assertEqual(is_end, is_last and count > 0)

    def test_most_blocks(self) -> None:
        """The blocks that were used last are kept."""
        known = KnownNames()
        versions = [VERSION._replace(inode=number) for number in range(module.MOST_BLOCKS + 1)]
        for version in versions[:-1]:
            known.keep(version, Names(b"", [b"a"], True))
        known.behind(versions[0], b"")
        known.keep(versions[0], Names(b"", [b"a"], True))  # takes no further place
        known.keep(versions[-1], Names(b"", [b"a"], True))
        kept = [known.behind(version, b"") is not None for version in versions]
        self.assertEqual(kept, [True, False] + [True] * (module.MOST_BLOCKS - 1))

    def test_most_bytes(self) -> None:
        """Blocks of long names are kept as far as there is room."""
        self.patch(module, "BLOCK", 1)
        self.patch(module, "MOST_BYTES", 6)
        known = KnownNames()
        for _ in range(3):  # a block that is kept again takes no further room
            known.keep(VERSION, Names(b"", [b"aa", b"bb", b"cc"], True))
        self.assertEqual(known.behind(VERSION, b"aa"), Names(b"aa", [b"bb"], False))
        known.keep(VERSION, Names(b"cc", [b"dd"], True))
        kept = [known.behind(VERSION, after) is not None for after in (b"", b"aa", b"bb", b"cc")]
        self.assertEqual(kept, [False, True, True, True])


class SettledVersionTests(SynchronousTestCase):
    """`settled_version`."""

    def setUp(self) -> None:
        self.top = scratch(self)
        store = FileStore({b"/workspace": self.top}, DenyRules([]))
        self.addCleanup(store.close)
        self.directory: OpenDirectory = store.open_directory(virtual(b"/workspace"))
        self.addCleanup(self.directory.close)
        self.patch(module, "is_on_disk", lambda _: True)

    def version(self, later: int = 60) -> Version | None:
        """:return: its version, so many seconds from now."""
        return settled_version(self.directory, time.time_ns() + later * 10**9)

    def test_settled(self) -> None:
        """It has one when nothing was changed for two seconds."""
        self.assertIsNone(self.version(1))
        self.assertIsNone(self.version(-60))
        facts = os.stat(self.top)
        times = facts.st_mtime_ns, facts.st_ctime_ns
        expected = Version(b"/workspace", facts.st_dev, facts.st_ino, *times)
        self.assertEqual(self.version(), expected)

    def test_backdated(self) -> None:
        """A modification time that a program has set proves nothing."""
        os.utime(self.top, (5, 5))
        self.assertIsNone(self.version(1))

    def test_not_on_disk(self) -> None:
        """A directory that another machine may change never has one."""
        self.patch(module, "is_on_disk", lambda _: False)
        self.assertIsNone(self.version())

    def test_error(self) -> None:
        """It has none if it cannot be looked at."""
        self.directory.close()
        self.assertIsNone(self.version())
