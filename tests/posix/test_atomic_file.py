"""
Tests for `chatfiles.posix.atomic_file`.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.posix.atomic_file import create_file, replace_file, sweep_temporary_files, write_all


class AtomicFileCase(SynchronousTestCase):
    """A directory with room for one file."""

    def setUp(self) -> None:
        self.directory = os.fsencode(os.path.abspath(self.mktemp()))
        os.mkdir(self.directory)
        self.path = self.directory + b"/file"

    def content(self) -> bytes:
        with open(self.path, "rb") as file:
            return file.read()

    def put(self, name: bytes, content: bytes = b"old") -> None:
        with open(os.path.join(self.directory, name), "wb") as file:
            file.write(content)

    def fail_each(self, names: tuple[str, ...], write: Any) -> None:
        """Check that nothing changes when one of the system calls *names* fails."""
        before = sorted(os.listdir(self.directory))
        open_files = os.listdir("/proc/self/fd")
        for name in names:
            error = OSError(errno.ENOSPC, "No space left on device")
            with mock.patch.object(os, name, side_effect=error):
                self.assertRaises(OSError, write, self.path, b"new")
            self.assertEqual(sorted(os.listdir(self.directory)), before, name)
            self.assertEqual(os.listdir("/proc/self/fd"), open_files, name)


class ReplaceTests(AtomicFileCase):
    """A file that replaces another one."""

    def test_new(self) -> None:
        """The file has the content and the mode 0600, whatever the umask is."""
        self.addCleanup(os.umask, os.umask(0o777))
        replace_file(self.path, b"new")
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.assertEqual(self.content(), b"new")
        self.assertEqual(os.listdir(self.directory), [b"file"])

    def test_symlink(self) -> None:
        """A symlink is replaced; its target is unchanged, and so is a file that is being read."""
        self.put(b"target")
        os.symlink(b"target", self.path)
        with open(self.path, "rb") as reader:
            replace_file(self.path, b"new")
            self.assertEqual(reader.read(), b"old")
        self.assertFalse(os.path.islink(self.path))
        self.assertEqual(self.content(), b"new")

    def test_failures(self) -> None:
        """After a failure the old file is there, and no temporary file or descriptor is left."""
        self.put(b"file")
        self.fail_each(("fchmod", "write", "fsync", "rename"), replace_file)
        self.assertEqual(self.content(), b"old")

    def test_flushed(self) -> None:
        """The content is on the disk before the name, and the name before the function returns."""
        calls: list[str] = []
        fsync, rename = os.fsync, os.rename

        def flushed(fd: int) -> None:
            calls.append("directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
            fsync(fd)

        def renamed(*names: Any, **directories: Any) -> None:
            calls.append("rename")
            rename(*names, **directories)

        self.patch(os, "fsync", flushed)
        self.patch(os, "rename", renamed)
        replace_file(self.path, b"new")
        self.assertEqual(calls, ["file", "rename", "directory"])

    def test_relative(self) -> None:
        """A name without a directory is in the current directory."""
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)
        replace_file(b"file", b"new")
        self.assertEqual(self.content(), b"new")


class CreateTests(AtomicFileCase):
    """A file that does not exist yet."""

    def test_new(self) -> None:
        """The file has the content and the mode 0600, which excludes other users."""
        self.assertTrue(create_file(self.path, b"new"))
        self.assertEqual(self.content(), b"new")
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.assertEqual(os.listdir(self.directory), [b"file"])

    def test_exists(self) -> None:
        """A file that exists is not replaced."""
        self.put(b"file")
        self.assertFalse(create_file(self.path, b"new"))
        self.assertEqual(self.content(), b"old")
        self.assertEqual(os.listdir(self.directory), [b"file"])

    def test_failures(self) -> None:
        """After a failure there is no file, no temporary file and no open descriptor."""
        self.fail_each(("fchmod", "write", "fsync", "link"), create_file)
        self.assertEqual(os.listdir(self.directory), [])

    def test_owner(self) -> None:
        """The new file is given to its owner before it has content."""
        with mock.patch.object(os, "fchown") as fchown:
            create_file(self.path, b"new")
            fchown.assert_not_called()
        os.unlink(self.path)
        with mock.patch.object(os, "fchown", side_effect=OSError(errno.EPERM, "no")):
            self.assertRaises(OSError, create_file, self.path, b"new", (7, 8))
        self.assertEqual(os.listdir(self.directory), [])

    def test_no_directory(self) -> None:
        """A missing directory is an error; it is not taken for a temporary file that was swept."""
        self.assertRaises(FileNotFoundError, create_file, self.path + b"/no/file", b"new")


class SweepTests(AtomicFileCase):
    """Temporary files that killed processes have left."""

    def test_sweep(self) -> None:
        """Only the file's own temporary files are removed."""
        kept = [b"file", b"file.tmp", b"file.bak", b"file.tmp-00.old", b"file.tmp-mine"]
        kept.append(b"other.tmp-0123456789abcdef")
        for name in (b"file.tmp-0123456789abcdef", b"file.tmp-00", *kept):
            self.put(name)
        os.mkdir(self.directory + b"/file.tmp-d0")
        sweep_temporary_files(self.path)
        self.assertEqual(sorted(os.listdir(self.directory)), sorted([*kept, b"file.tmp-d0"]))

    def test_what_is_swept(self) -> None:
        """A sweep removes the temporary file of a write in progress, which then creates no file."""

        def swept(*_: Any, **__: Any) -> None:
            sweep_temporary_files(self.path)
            raise FileNotFoundError

        with mock.patch.object(os, "link", side_effect=swept):
            self.assertFalse(create_file(self.path, b"new"))
        self.assertEqual(os.listdir(self.directory), [])


class WriteTests(SynchronousTestCase):
    """Writes that the kernel accepts in parts."""

    def test_parts(self) -> None:
        """Every byte is written once, in order."""
        written: list[bytes] = []

        def write(_: int, data: memoryview) -> int:
            written.append(bytes(data[:2]))
            return len(written[-1])

        with mock.patch.object(os, "write", side_effect=write):
            write_all(0, b"hello")
        self.assertEqual(written, [b"he", b"ll", b"o"])
