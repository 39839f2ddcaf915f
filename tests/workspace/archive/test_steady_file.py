"""
Tests for `chatfiles.workspace.archive.steady_file`.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from chatfiles.model import FileFacts
from chatfiles.streams.file_source import FileChanged
from chatfiles.workspace.archive.steady_file import SETTLED_NS, YOUNG_NS, SteadyFile
from chatfiles.workspace.files.open_file import OpenFile
from tests.contract.file_store import scratch

#: When the files were written, in nanoseconds since the epoch.
WRITTEN = 1_700_000_000 * 10**9


class SteadyFileTests(SynchronousTestCase):
    """Files that are written while they are read."""

    def setUp(self) -> None:
        self.path = scratch(self) + b"/a"
        with open(self.path, "wb") as file:
            file.write(b"a" * 1000)
        os.utime(self.path, ns=(WRITTEN, WRITTEN))
        self.now = WRITTEN
        self.slept: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.now += round(seconds * 1e9)
        self.meanwhile()

    def open(self, age_ns: int, *, local: bool = True) -> SteadyFile:
        """:return: the file, so long after it was written."""
        self.now = WRITTEN + age_ns
        fd = os.open(self.path, os.O_RDONLY)
        file = OpenFile(fd, FileFacts.of(os.fstat(fd)), b"a", local)
        self.addCleanup(file.close)
        return SteadyFile(file, lambda: self.now, self.sleep)

    def rewrite(self) -> None:
        """Write other content; each time has another modification time."""
        with open(self.path, "r+b") as file:
            file.write(b"b")
        os.utime(self.path, ns=(self.now, self.now))

    def test_old(self) -> None:
        """Nothing is waited for if the last write was long ago, or its time is not known."""
        for age in (SETTLED_NS, 10 * SETTLED_NS, -1):
            file = self.open(age)
            file.begin()
            self.assertEqual(file.read(10, 20), b"a" * 20)
            self.assertEqual(file.read(10, 0), b"")
            file.finish()
        self.assertEqual(self.slept, [])

    def keep_open(self) -> None:
        """Let a process have the file open for writing."""
        self.enterContext(open(self.path, "r+b"))

    def test_new(self) -> None:
        """A file is read after the tick in which it was written."""
        for local in (True, False):
            file = self.open(5_000_000, local=local)
            file.begin()
            self.assertEqual(self.slept, [(YOUNG_NS - 5_000_000) / 1e9])
            file.read(0, 1000)
            file.finish()
            if local and len(self.slept) > 1:
                raise SkipTest("this file system does not say what is open for writing")
            self.assertEqual(len(self.slept) == 1, local)
            self.slept.clear()

    def test_open_for_writing(self) -> None:
        """If a process has it open for writing, it is watched for a while."""
        self.keep_open()
        file = self.open(5_000_000)
        file.begin()
        file.read(0, 1000)
        file.finish()
        self.assertGreaterEqual(self.now, WRITTEN + SETTLED_NS)
        self.assertLess(self.now, WRITTEN + SETTLED_NS + 2 * YOUNG_NS)

    def test_not_quite_new(self) -> None:
        """After the tick, reading begins at once."""
        file = self.open(YOUNG_NS)
        file.begin()
        self.assertEqual(self.slept, [])

    def test_rewritten_at_the_beginning(self) -> None:
        """A file that is written again before it is read has changed."""
        file = self.open(0)
        self.meanwhile = self.rewrite
        self.assertRaises(FileChanged, file.begin)

    def test_rewritten_at_the_end(self) -> None:
        """So has one that is written again after it was read."""
        self.keep_open()
        file = self.open(YOUNG_NS)
        file.begin()
        file.read(0, 1000)
        self.meanwhile = self.rewrite
        self.assertRaises(FileChanged, file.finish)

    def test_truncated(self) -> None:
        """So has one that is shorter."""
        file = self.open(YOUNG_NS)
        os.truncate(self.path, 999)
        self.assertRaises(FileChanged, file.read, 0, 10)
        self.assertRaises(FileChanged, self.open(YOUNG_NS).read, 0, 1000)

    def test_log(self) -> None:
        """A file that grows is not waited for any longer."""

        def grow() -> None:
            with open(self.path, "ab") as file:
                file.write(b"more")

        self.keep_open()
        file = self.open(YOUNG_NS)
        file.begin()
        self.meanwhile = grow
        file.finish()
        self.assertEqual(len(self.slept), 1)
        self.assertEqual(file.read(0, 1000), b"a" * 1000)
