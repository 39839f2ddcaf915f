"""
The SHA-256 of an open file is that of one version.
"""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from chatfiles.rules.conditional_requests import SETTLED_NS
from chatfiles.streams.file_source import FileChanged
from chatfiles.workspace.digests.file_hash import FileHash, quiet_ns
from chatfiles.workspace.files.open_file import OpenFile
from tests.workspace.digests.digests_case import STEP, DigestsCase, sha256


class FileHashTests(DigestsCase):
    """`FileHash`."""

    def hashing(self, file: OpenFile) -> FileHash:
        return FileHash(file, 20_000_000, self.now_ns, self.slept.append)

    def test_steps(self) -> None:
        """Each step reads a bounded number of bytes, and the last one returns the digest."""
        content = bytes(range(25))
        hashing = self.hashing(self.open(self.write(content)))
        self.assertEqual([hashing.step(), hashing.done], [None, STEP])
        self.assertEqual([hashing.step(), hashing.done], [None, 2 * STEP])
        self.assertEqual([hashing.step(), hashing.done], [sha256(content), 25])
        self.assertEqual(self.slept, [])

    @given(st.binary(max_size=4 * STEP))
    def test_whole(self, content: bytes) -> None:
        """The digest is that of the content, whatever its length."""
        path = self.write(content, b"same")
        self.assertEqual(self.hashing(self.open(path)).whole(), sha256(content))

    def test_changed(self) -> None:
        """A file that changes in any way after it was opened has no digest."""

        def rewrite(path: bytes) -> None:
            self.write(b"y" * 25, os.path.basename(path))

        def grow(path: bytes) -> None:
            self.write(b"x" * 26, os.path.basename(path))

        def shrink(path: bytes) -> None:
            os.truncate(path, 7)

        def replace(path: bytes) -> None:
            os.replace(self.write(b"x" * 25), path)

        for change in (rewrite, grow, shrink, replace, os.unlink):
            for steps in range(3):
                path = self.write(b"x" * 25)
                hashing = self.hashing(self.open(path))
                for _ in range(steps):
                    hashing.step()
                change(path)
                with self.assertRaises(FileChanged, msg=str(change)):
                    hashing.step()

    def test_growing_file(self) -> None:
        """Not even a file that has only grown: its validator has changed."""
        path = self.write(b"x")
        hashing = self.hashing(self.open(path))
        self.write(b"xy", os.path.basename(path))
        self.assertRaises(FileChanged, hashing.step)

    def test_quiet(self) -> None:
        """
        The larger a file is, the longer the last write may take, which sets the times when it
        begins.  There is a limit.
        """
        found = [quiet_ns(size) for size in (0, 1, 16 << 20, 10**9, 10**12)]
        self.assertEqual(found, [10000000, 10000001, 26777216, 1010000000, 1010000000])

    def test_age(self) -> None:
        """A file is read only when it has the minimum age."""
        for age_ns, expected in ((0, 0.02), (15_000_000, 0.005), (20_000_000, None)):
            path = self.write(b"first", b"file")
            self.age_ns = age_ns
            hashing = self.hashing(self.open(path))
            self.slept.clear()
            hashing.step()
            self.assertEqual(self.slept, [expected] if expected else [])

    def test_written_within_the_tick(self) -> None:
        """The digest includes what was written while it waited, if the times are the same."""
        path = self.write(b"first")
        file = self.open(path)
        times = os.stat(path)

        def write_again(_: float) -> None:
            with open(path, "r+b") as same:
                same.write(b"other")
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            now = os.stat(path)
            # As if all this had happened within one tick.
            file.facts = hashing.facts = type(file.facts).of(now)

        self.age_ns = 0
        hashing = FileHash(file, 20_000_000, self.now_ns, write_again)
        self.assertEqual(hashing.step(), sha256(b"other"))

    def test_clock_set_back(self) -> None:
        """If the time of day is far before the file's, it does not wait until then."""
        self.age_ns = -(10**18)
        self.hashing(self.open(self.write(b"x"))).step()
        self.assertEqual(self.slept, [0.02])

    def test_settled(self) -> None:
        """A version is settled if its times were older than a second when reading began."""
        for age_ns, expected in ((SETTLED_NS, True), (SETTLED_NS - 1, False), (-1, False)):
            path = self.write(b"x" * 25)
            self.age_ns = age_ns
            hashing = self.hashing(self.open(path))
            hashing.step()
            self.age_ns = 10 * SETTLED_NS
            hashing.whole()
            self.assertEqual(hashing.settled, expected, age_ns)

    def test_modified_in_the_future(self) -> None:
        """A file whose mtime is in the future has a weak tag, and so is not settled."""
        path = self.write(b"x")
        os.utime(path, (4e9, 4e9))
        hashing = self.hashing(self.open(path))
        hashing.whole()
        self.assertFalse(hashing.settled)

    def test_closed(self) -> None:
        """A file that was closed is not read: its number may be another file's by now."""
        file = self.open(self.write(b"x"))
        hashing = self.hashing(file)
        file.close()
        self.assertRaises(OSError, hashing.step)
