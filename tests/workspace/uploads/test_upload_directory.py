"""
Tests for `chatfiles.workspace.uploads.upload_directory`: where uploads are kept, and the sweep
of what was left over.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from unittest import mock

from chatfiles.errors import (
    NoSpace,
    NotFound,
    ReadFailed,
    Unavailable,
    WriteFailed,
)
from chatfiles.workspace.publication.unpublished_file import UnpublishedFile, create_locked
from chatfiles.workspace.uploads.upload_directory import UploadDirectory, write_error
from tests.workspace.uploads.uploads_case import (
    HEX,
    KILLED,
    A,
    UploadsCase,
)


class DirectoryTests(UploadsCase):
    """`UploadDirectory.open`."""

    def test_made(self) -> None:
        """A missing directory is made, accessible to the owner only."""
        self.open_directory()
        for path in (self.path, os.path.dirname(self.path)):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o700)

    def test_is_there(self) -> None:
        """An existing directory is opened, with the files in it."""
        kept = self.put("kept", b"k")
        fd = self.open_directory()
        self.assertEqual(os.listdir(fd), ["kept"])
        self.assertTrue(os.path.samestat(os.fstat(fd), os.stat(os.path.dirname(kept))))

    def test_made_for_good(self) -> None:
        """
        A new directory is synced to the disk, so that a crash does not remove it with files that
        were reported as stored.
        """
        synced, real = list[str](), os.fsync

        def fsync(fd: int) -> None:
            synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), self.root))
            real(fd)

        with mock.patch("os.fsync", fsync):
            self.open_directory()
            self.assertEqual(synced, [".", ".molecule"])
            self.open_directory()
        self.assertEqual(len(synced), 2)

    def test_no_root(self) -> None:
        """A missing root is reported as a failed write, not as a failed download."""
        for error in (NotFound(), ReadFailed()):
            missing = UploadDirectory(mock.Mock(side_effect=error))
            self.assertRaises(WriteFailed, missing.open)
        busy = UploadDirectory(mock.Mock(side_effect=Unavailable()))
        self.assertRaises(Unavailable, busy.open)

    def test_not_made(self) -> None:
        """A start without uploads makes no directories."""
        self.assertEqual(self.uploads.sweep(), 0)
        self.assertEqual(os.listdir(self.root), [])

    def test_symlinks(self) -> None:
        """
        A symlink in place of the directory is refused, so that an agent cannot redirect uploads.
        """
        elsewhere = os.path.realpath(self.mktemp())
        os.makedirs(os.path.join(elsewhere, "chat-uploads"))
        for link in (os.path.dirname(self.path), self.path):
            os.makedirs(os.path.dirname(link), exist_ok=True)
            for target in (elsewhere, os.path.relpath(elsewhere, os.path.dirname(link)), "nowhere"):
                os.symlink(target, link)
                error = self.assertRaises(OSError, self.uploads.open)
                self.assertIn(error.errno, (errno.ELOOP, errno.ENOTDIR))
                self.assertIsInstance(write_error(error), WriteFailed)
                self.assertEqual(self.uploads.sweep(), 0)
                os.unlink(link)
        self.assertEqual(os.listdir(elsewhere), ["chat-uploads"])
        self.assertEqual(os.listdir(os.path.join(elsewhere, "chat-uploads")), [])

    def test_something_else(self) -> None:
        """A file or a FIFO in place of the directory is refused at once."""
        for make in (os.mkfifo, lambda path: os.close(os.open(path, os.O_CREAT))):
            path = os.path.dirname(self.path)
            make(path)
            error = self.assertRaises(OSError, self.uploads.open)
            self.assertEqual(error.errno, errno.ENOTDIR)
            os.unlink(path)

    def test_descriptors(self) -> None:
        """No descriptor stays open, whether the directory can be opened or not."""
        before = len(os.listdir("/proc/self/fd"))
        os.close(self.uploads.open())
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        os.rmdir(self.path)
        os.symlink("/", self.path)
        self.assertRaises(OSError, self.uploads.open)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_errors(self) -> None:
        """A full disk, a failed write, and a lack of resources are distinguished."""
        for code in (errno.ENOSPC, errno.EDQUOT):
            self.assertIsInstance(write_error(OSError(code, "")), NoSpace)
        for code in (errno.EIO, errno.EACCES, errno.EROFS, errno.EFBIG):
            error = write_error(OSError(code, ""))
            self.assertEqual((error.status, error.text), (500, "failed to write file"))
        for code, denied in ((errno.EIO, False), (errno.EACCES, True), (errno.EROFS, True)):
            detail = write_error(OSError(code, "")).detail
            self.assertEqual("no permission to write" in (detail or ""), denied)
        for code in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            error = write_error(OSError(code, ""))
            self.assertEqual((error.status, error.retry_after), (503, 1))


class SweepTests(UploadsCase):
    """`UploadDirectory.sweep`."""

    def test_nothing_there(self) -> None:
        """
        A workspace that never had an upload, or has no root, starts: there is nothing to sweep.
        """
        self.assertEqual(self.uploads.sweep(), 0)
        os.rmdir(self.root)
        self.assertEqual(self.uploads.sweep(), 0)

        def missing() -> int:
            raise NotFound

        self.assertEqual(UploadDirectory(missing).sweep(), 0)

    def test_removes(self) -> None:
        """Files that a killed process has left are removed, and no others."""
        kept = {A, "x.part", ".upload-x", ".upload-x.part.txt", "upload-x.part"}
        for name in (*kept, ".upload-1.part", ".upload-2.part"):
            self.put(name)
        self.assertEqual(self.uploads.sweep(), 2)
        self.assertEqual(set(self.listed()), kept)

    def test_not_what_is_being_written(self) -> None:
        """Files that an old process still receives, while it drains, are kept."""
        fd = self.open_directory()
        ready, go = os.pipe(), os.pipe()

        def act() -> None:
            file = UnpublishedFile(fd, unnamed=False)
            file.write(b"x")
            os.write(ready[1], b".")
            os.read(go[0], 1)
            os._exit(KILLED)

        pid = os.fork()
        if not pid:
            act()
        os.read(ready[0], 1)
        self.assertEqual(self.uploads.sweep(), 0)
        self.assertEqual(list(self.listed().values()), [b"x"])
        os.write(go[1], b".")
        os.waitpid(pid, 0)
        self.assertEqual(self.uploads.sweep(), 1)
        for end in (*ready, *go):
            os.close(end)

    def test_not_what_is_not_ours(self) -> None:
        """
        What an agent puts there neither blocks the start nor makes it fail, and is not followed out
        of the directory.
        """
        outside = os.path.realpath(self.mktemp())
        with open(outside, "wb") as file:
            file.write(A.encode() + b"\n")
        self.put("x")
        here = lambda n: os.path.join(self.path, f".upload-{n}")  # noqa: E731
        os.mkfifo(here("fifo.part"))
        os.mkfifo(here("fifo.note"))
        os.mkdir(here("dir.part"))
        os.symlink(outside, here("link.part"))
        os.symlink(outside, here("link.note"))
        os.symlink("nowhere", here("dangling.part"))
        before = set(os.listdir(self.path))
        self.assertEqual(self.uploads.sweep(), 0)
        self.assertEqual(set(os.listdir(self.path)), before)
        self.assertTrue(os.path.exists(outside))

    def test_notes_of_others(self) -> None:
        """A note that an agent wrote does not make the role remove anything but uploads."""
        outside = os.path.join(self.root, "precious")
        os.makedirs(self.path)
        for path in (outside, os.path.join(self.path, "notes.txt")):
            with open(path, "w"):
                pass
        self.put(
            ".upload-1.note",
            b"../../precious\n%s/../../../precious\nnotes.txt\n\0\n%s" % (HEX.encode(), A.encode()),
        )
        self.put(A)  # its line is not complete: the note was never finished
        self.assertEqual(self.uploads.sweep(), 0)
        self.assertTrue(os.path.exists(outside))
        self.assertEqual(set(self.listed()), {"notes.txt", A})

    def test_created_while_sweeping(self) -> None:
        """A file that is swept before it is locked is created again."""
        fd, real, times = self.open_directory(), fcntl.flock, iter(range(10))

        def flock(file: int, operation: int) -> None:
            at = next(times)
            if at == 0:
                raise BlockingIOError(errno.EWOULDBLOCK, "")  # swept just now
            if at == 1:
                for name in os.listdir(fd):  # has been swept
                    os.unlink(name, dir_fd=fd)
            real(file, operation)

        with mock.patch("fcntl.flock", flock):
            file = UnpublishedFile(fd, unnamed=False)
        file.write(b"x")
        file.publish(A)
        file.close()
        self.assertEqual(self.listed(), {A: b"x"})

    def test_always_swept(self) -> None:
        """
        The attempts to create a file that is always swept are limited; no descriptor stays open.
        """
        fd = self.open_directory()
        before = len(os.listdir("/proc/self/fd"))
        with mock.patch("fcntl.flock", side_effect=BlockingIOError(errno.EWOULDBLOCK, "")):
            self.assertRaises(OSError, create_locked, fd, ".part")
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_without_locks(self) -> None:
        """A file system without locks takes uploads, and is swept."""
        fd = self.open_directory()
        with mock.patch("fcntl.flock", side_effect=OSError(errno.ENOLCK, "")):
            os.close(create_locked(fd, ".part")[0])
            self.assertEqual(self.uploads.sweep(), 1)
