"""
Files that are read again when they change, and of which the valid ones stay in use.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.tls.files import MAX_BYTES, BadFile, File, LoadedFiles, read_file


class FileCase(SynchronousTestCase):
    """A directory of the test."""

    def setUp(self) -> None:
        self.base = os.path.abspath(self.mktemp())
        os.mkdir(self.base)

    def write(self, name: str, content: bytes = b"") -> str:
        """:return: the path of a file with this content."""
        path = os.path.join(self.base, name)
        with open(path, "wb") as file:
            file.write(content)
        return path


class ReadTests(FileCase):
    """`read_file`."""

    def test_read(self) -> None:
        """A file is read completely; a link to a file is one."""
        path = self.write("a", b"content")
        link = os.path.join(self.base, "link")
        os.symlink("a", link)
        for each in (path, link):
            file = read_file(each)
            self.assertEqual((file.path, file.content), (each, b"content"))
            self.assertEqual(file.mode & 0o777, os.stat(path).st_mode & 0o777)

    def test_refused(self) -> None:
        """What is no such file is refused, and does not let the caller wait."""
        fifo = os.path.join(self.base, "fifo")
        os.mkfifo(fifo)
        before = len(os.listdir("/proc/self/fd"))
        large = self.write("large", b"x" * (MAX_BYTES + 1))
        for path, why in (
            (fifo, "not a regular file"),
            (self.base, "Is a directory"),
            (os.path.join(self.base, "none"), "No such file or directory"),
            (large, "too large"),
        ):
            error = self.assertRaises(BadFile, read_file, path)
            self.assertEqual(str(error), f"{path}: {why}")
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


class LoadedTests(FileCase):
    """`LoadedFiles`, of files that are valid if they have the same content."""

    def setUp(self) -> None:
        super().setUp()
        self.reports: list[str] = []
        self.made = 0
        self.one, self.two = self.write("one", b"1"), self.write("two", b"1")
        self.loaded = LoadedFiles([self.one, self.two], self.make)

    def make(self, files: Sequence[File]) -> bytes:
        self.made += 1
        if files[0].content != files[1].content:
            raise BadFile(files[1].path, "not the same")
        return files[0].content

    def look(self) -> bool:
        return self.loaded.look(self.reports.append)

    def test_unchanged(self) -> None:
        """Files that have not changed are not made into a value again."""
        self.assertEqual(self.loaded.load(), b"1")
        self.write("one", b"1")
        self.assertFalse(self.look())
        self.assertEqual((self.made, self.reports), (1, []))

    def test_changed(self) -> None:
        """A new value replaces the old one when all of its files are there."""
        self.loaded.load()
        self.write("one", b"2")
        self.assertFalse(self.look())
        self.assertEqual(self.loaded.value, b"1")
        self.write("two", b"2")
        self.assertTrue(self.look())
        self.assertEqual(self.loaded.value, b"2")

    def test_reported_once(self) -> None:
        """Each content that is not valid is reported once, with the name of the file."""
        self.loaded.load()
        text = f"{self.two}: not the same; what was read before stays in use"
        for content in (b"2", b"3"):
            self.write("two", content)
            for _ in range(3):
                self.assertFalse(self.look())
        self.assertEqual(self.reports, [text, text])

    def test_unreadable(self) -> None:
        """A file that is not there is reported once; when it is there again, it is used."""
        self.loaded.load()
        os.unlink(self.two)
        for _ in range(3):
            self.assertFalse(self.look())
        [report] = self.reports
        self.assertIn(f"{self.two}: No such file or directory; what was read before", report)
        self.write("two", b"1")
        self.assertTrue(self.look())

    def test_never_valid(self) -> None:
        """Without a valid value there is none, and `load` raises an error that names the file."""
        self.write("two", b"2")
        self.assertRaises(BadFile, self.loaded.load)
        loaded = LoadedFiles([self.one, self.two], self.make)
        self.assertFalse(loaded.look(self.reports.append))
        self.assertIsNone(loaded.value)
        self.assertEqual(self.reports, [f"{self.two}: not the same; not used"])
