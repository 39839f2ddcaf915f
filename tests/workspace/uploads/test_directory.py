"""
reference/uploads, "All or nothing": where uploads are kept; all files of a request appear, or none.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
from collections.abc import Callable
from typing import Any, ClassVar
from unittest import mock

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from chatfiles.errors import (
    NoSpace,
    NotFound,
    ReadFailed,
    Unavailable,
    WriteFailed,
)
from chatfiles.workspace.uploads.directory import UploadDirectory, write_error
from chatfiles.workspace.uploads.publish import publish_all
from chatfiles.workspace.uploads.unpublished_file import UnpublishedFile, create_locked

HEX = "0123456789abcdef" * 2
A, B, C = (f"{HEX}-{letter}" for letter in "abc")
KILLED = 99


def has_unnamed_files(directory: str) -> bool:
    try:
        os.close(os.open(directory, os.O_WRONLY | os.O_TMPFILE, 0o600))
    except OSError:
        return False
    return True


def in_child(act: Callable[[], object]) -> int:
    """:return: the exit status of a process that calls *act* and then ends at once."""
    pid = os.fork()
    if not pid:
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Case(SynchronousTestCase):
    """A root, and the directory of uploads in it."""

    unnamed: ClassVar[bool] = True

    def setUp(self) -> None:
        self.root = os.path.realpath(self.mktemp())
        os.makedirs(self.root)
        if self.unnamed and not has_unnamed_files(self.root):
            raise SkipTest("this file system has no unnamed files")
        self.uploads = UploadDirectory(self.open_root, unnamed=self.unnamed)
        self.path = os.path.join(self.root, ".molecule", "chat-uploads")

    def open_root(self) -> int:
        return os.open(self.root, os.O_PATH | os.O_DIRECTORY)

    def open_directory(self) -> int:
        fd = self.uploads.open()
        self.addCleanup(os.close, fd)
        return fd

    def new(self, content: bytes = b"") -> UnpublishedFile:
        file = self.uploads.new_file(self.open_directory())
        self.addCleanup(file.close)
        file.write(content)
        file.complete()
        return file

    def listed(self) -> dict[str, bytes]:
        """:return: what is in the directory."""
        found = {}
        for name in os.listdir(self.path):
            with open(os.path.join(self.path, name), "rb") as file:
                found[name] = file.read()
        return found

    def put(self, name: str, content: bytes = b"") -> str:
        os.makedirs(self.path, exist_ok=True)
        path = os.path.join(self.path, name)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def failing_link(self, at: int, error: BaseException | Callable[[], object]) -> Any:
        """:return: a context in which the *at*-th link of a file fails, counted from 0."""
        real, calls = os.link, iter(range(1000))

        def link(*args: Any, **more: Any) -> None:
            if next(calls) == at:
                if not isinstance(error, BaseException):
                    error()
                else:
                    raise error
            real(*args, **more)

        return mock.patch("os.link", link)


class DirectoryTests(Case):
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
        for code in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            error = write_error(OSError(code, ""))
            self.assertEqual((error.status, error.retry_after), (503, 1))


class UnnamedFileTests(Case):
    """Unpublished files that have no name, and how they are published."""

    def test_invisible(self) -> None:
        """A file is not visible before it is complete and published."""
        file = self.uploads.new_file(self.open_directory())
        file.write(b"half")
        self.assertEqual(self.visible(), {})
        file.write(b" and half")
        file.complete()
        self.assertEqual(self.visible(), {})
        file.publish(A)
        file.close()
        self.assertEqual(self.listed(), {A: b"half and half"})
        self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.path, A)).st_mode), 0o600)
        self.assertEqual(os.stat(os.path.join(self.path, A)).st_nlink, 1)

    def visible(self) -> dict[str, bytes]:
        return self.listed()

    def test_given_up(self) -> None:
        """A file that is closed without being published is removed."""
        self.new(b"x").close()
        self.assertEqual(self.listed(), {})

    def test_closed_twice(self) -> None:
        """Closing a file again does not close another one's descriptor."""
        file = self.new()
        file.close()
        with open(os.devnull, "rb") as other:
            file.close()
            os.fstat(other.fileno())

    def test_never_replaces(self) -> None:
        """A file of the same name is neither replaced nor written to."""
        path = self.put(A, b"old")
        file = self.new(b"new")
        self.assertRaises(FileExistsError, file.publish, A)
        file.withdraw()
        self.assertEqual(self.listed()[A], b"old")
        for make in (os.mkdir, os.mkfifo, lambda path: os.symlink("nowhere", path)):
            os.unlink(path)
            make(path)
            self.assertRaises(FileExistsError, file.publish, A)
            if os.path.isdir(path):
                os.rmdir(path)
                self.put(A)

    def test_withdrawn(self) -> None:
        """
        A withdrawn file is removed; withdrawing it again does not remove another one of its name.
        """
        file = self.new()
        file.publish(A)
        file.withdraw()
        self.put(A, b"other")
        file.withdraw()
        file.close()
        self.assertEqual(self.listed(), {A: b"other"})

    def test_withdrawn_but_gone(self) -> None:
        """Withdrawing a file that the owner of the workspace has already removed succeeds."""
        file = self.new()
        file.publish(A)
        os.unlink(os.path.join(self.path, A))
        file.withdraw()

    def test_cannot_be_linked(self) -> None:
        """A file is published even where unnamed files, or any files, cannot be linked."""
        real = os.link

        def only_named(source: str, *args: object, **more: object) -> None:
            if source.startswith("/proc/"):
                raise OSError(errno.EXDEV, "")
            real(source, *args, **more)  # type: ignore[arg-type]

        def none_at_all(*_: object, **__: object) -> None:
            raise OSError(errno.EPERM, "")

        for name, link in ((A, only_named), (B, none_at_all)):
            self.uploads = UploadDirectory(self.open_root, unnamed=self.unnamed)
            with mock.patch("os.link", link):
                file = self.new(b"content")
                file.publish(name)
                file.close()
        self.assertEqual(self.listed(), {A: b"content", B: b"content"})

    def test_large_write(self) -> None:
        """A write that the system takes in parts is completed."""
        real = os.write
        with mock.patch("os.write", lambda fd, data: real(fd, data[:1000])):
            file = self.new(b"x" * 5001)
        file.publish(A)
        self.assertEqual(self.listed()[A], b"x" * 5001)

    def test_errors_reach(self) -> None:
        """An error that the disk reports late is raised."""
        for call in ("fsync", "dup"):
            file = self.uploads.new_file(self.open_directory())
            self.addCleanup(file.close)
            with mock.patch(f"os.{call}", side_effect=OSError(errno.EIO, "")):
                self.assertRaises(OSError, file.complete)

    # -- all or nothing

    def several(self) -> list[tuple[UnpublishedFile, str]]:
        return [(self.new(name.encode()), name) for name in (A, B, C)]

    def test_all(self) -> None:
        """Several files appear together, and nothing else stays with them."""
        files = self.several()
        publish_all(files, self.open_directory())
        for file, _ in files:
            file.close()
        self.assertEqual(self.listed(), {name: name.encode() for name in (A, B, C)})

    def test_none(self) -> None:
        """If a file cannot be linked, those before it are removed."""
        for at in range(3):
            files = self.several()
            with self.failing_link(at, OSError(errno.EIO, "")):
                self.assertRaises(OSError, publish_all, files, self.open_directory())
            for file, _ in files:
                file.close()
            self.assertEqual(self.listed(), {}, at)

    def test_none_by_collision(self) -> None:
        """If a name is taken, no file is published, and the existing one is kept."""
        for taken in (A, B, C):
            self.put(taken, b"old")
            files = self.several()
            self.assertRaises(FileExistsError, publish_all, files, self.open_directory())
            for file, _ in files:
                file.close()
            self.assertEqual(self.listed(), {taken: b"old"})
            os.unlink(os.path.join(self.path, taken))

    def test_none_by_sync(self) -> None:
        """If names cannot be synced to the disk, publishing fails and none of them stays."""
        for count, syncs in ((1, 1), (3, 4)):
            for failing in range(syncs + 1):
                files, calls = [(self.new(), name) for name in (A, B, C)[:count]], iter(range(9))

                def fsync(fd: int, failing: int = failing, calls: Any = calls) -> None:
                    if next(calls) == failing:
                        raise OSError(errno.EIO, "")

                with mock.patch("os.fsync", fsync):
                    if failing < syncs:
                        self.assertRaises(OSError, publish_all, files, self.open_directory())
                    else:
                        publish_all(files, self.open_directory())
                for file, _ in files:
                    file.close()
                self.assertEqual(len(self.listed()), count if failing == syncs else 0)
            for name in self.listed():
                os.unlink(os.path.join(self.path, name))

    def test_order_of_syncs(self) -> None:
        """
        The note that says which names belong together is synced before them, and removed after
        them, so that a crash never leaves names without it.
        """
        files, seen, real = self.several(), list[list[str]](), os.fsync

        def fsync(fd: int) -> None:
            real(fd)
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                seen.append([name[-5:] for name in sorted(os.listdir(fd)) if ".part" not in name])

        with mock.patch("os.fsync", fsync):
            publish_all(files, self.open_directory())
        a, b, c = (name[-5:] for name in (A, B, C))
        self.assertEqual(seen, [[".note"], [".note", a, b, c], [a, b, c]])

    def test_killed_while_publishing(self) -> None:
        """
        After the process is killed between two links, a sweep removes the files of the request.
        """
        for at in range(3):
            files = self.several()
            fd = self.open_directory()

            def act(at: int = at, files: Any = files, fd: int = fd) -> None:
                with self.failing_link(at, lambda: os._exit(KILLED)):
                    publish_all(files, fd)

            # The child shares the locks of the parent, which have to be released as well.
            self.assertEqual(in_child(act), KILLED)
            self.assertEqual(len([n for n in self.listed() if n.startswith(HEX)]), at)
            self.die(files)
            self.assertGreaterEqual(self.uploads.sweep(), at)
            self.assertEqual(self.listed(), {})

    def die(self, files: list[tuple[UnpublishedFile, str]]) -> None:
        """Close the files and remove nothing, as when the process is killed."""
        for file, _ in files:
            os.close(file._fd)
            file._fd, file._temporary = -1, None

    def test_killed_before_the_note_is_gone(self) -> None:
        """
        A sweep removes the files of a request whose note still exists: its client has received no
        response.
        """
        files, fd = self.several(), self.open_directory()

        def act() -> None:
            with mock.patch("os.unlink", side_effect=lambda *_, **__: os._exit(KILLED)):
                publish_all(files, fd)

        self.assertEqual(in_child(act), KILLED)
        self.assertEqual(len([name for name in self.listed() if name.startswith(HEX)]), 3)
        self.die(files)
        self.uploads.sweep()
        self.assertEqual(self.listed(), {})

    def test_killed_afterwards(self) -> None:
        """A sweep keeps files whose client may have received a response."""
        files, fd = self.several(), self.open_directory()
        self.assertEqual(in_child(lambda: publish_all(files, fd)), 0)
        self.die(files)
        self.uploads.sweep()
        self.assertEqual(sorted(self.listed()), [A, B, C])


class NamedFileTests(UnnamedFileTests):
    """The same, on a file system that has no unnamed files."""

    unnamed = False

    def visible(self) -> dict[str, bytes]:
        listed = self.listed()
        for name in list(listed):
            self.assertRegex(name, r"\A\.upload-[0-9a-f]{32}\.part\Z")
            mode = os.stat(os.path.join(self.path, name)).st_mode
            self.assertEqual(stat.S_IMODE(mode), 0o600)
            del listed[name]
        return listed

    def test_without_flags_of_rename(self) -> None:
        """Files are published even without hard links and without renaming that never replaces."""
        for code in (errno.EINVAL, errno.ENOSYS):
            rename = mock.Mock(side_effect=lambda *_, code=code: ctypes.set_errno(code) or -1)
            with mock.patch("chatfiles.posix.rename_noreplace._renameat2", rename):
                self.test_without_hard_links()
            self.assertEqual(rename.call_count, 2 * (1 + 2 + 3))

    def test_rename_fails(self) -> None:
        """A disk that fails is not taken for a file system that lacks something; no file stays."""
        rename = mock.Mock(side_effect=lambda *_: ctypes.set_errno(errno.EIO) or -1)
        files = self.several()
        with (
            mock.patch("chatfiles.posix.rename_noreplace._renameat2", rename),
            mock.patch("os.link", side_effect=OSError(errno.EPERM, "")),
        ):
            error = self.assertRaises(OSError, publish_all, files, self.open_directory())
        self.assertEqual(error.errno, errno.EIO)
        for file, _ in files:
            file.close()
        self.assertEqual(self.listed(), {})

    def test_without_hard_links(self) -> None:
        """A file system without hard links takes uploads, and no file is replaced."""
        for code in (errno.EPERM, errno.EOPNOTSUPP):
            files = self.several()
            with mock.patch("os.link", side_effect=OSError(code, "")):
                self.put(C, b"old")
                self.assertRaises(FileExistsError, publish_all, files, self.open_directory())
                self.assertEqual(
                    {n: c for n, c in self.listed().items() if n.startswith(HEX)}, {C: b"old"}
                )
                for file, _ in files:
                    file.close()
                os.unlink(os.path.join(self.path, C))
                files = self.several()
                publish_all(files, self.open_directory())
            for file, _ in files:
                file.close()
            self.assertEqual(self.listed(), {name: name.encode() for name in (A, B, C)})
            for name in (A, B, C):
                os.unlink(os.path.join(self.path, name))


class FallbackTests(Case):
    """Where unnamed files do not work."""

    def test_no_tmpfile(self) -> None:
        """A file system that has no unnamed files takes uploads."""
        real = os.open
        for code in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.EPERM):

            def opened(path: Any, flags: int, *args: Any, code: int = code, **more: Any) -> int:
                if flags & os.O_TMPFILE == os.O_TMPFILE:
                    raise OSError(code, "")
                return real(path, flags, *args, **more)

            with mock.patch("os.open", opened):
                file = self.new(b"x")
            self.assertEqual(len(self.listed()), 1, code)
            file.close()
            self.assertEqual(self.listed(), {})

    def test_no_proc(self) -> None:
        """
        Without ``/proc``, an unnamed file cannot be published, so a named one is used from the
        start.
        """
        before = len(os.listdir("/proc/self/fd"))
        with mock.patch("os.path.exists", return_value=False):
            file = self.new(b"x")
        self.assertEqual(len(self.listed()), 1)
        file.publish(A)
        file.close()
        self.assertEqual(self.listed(), {A: b"x"})
        self.assertEqual(len(os.listdir("/proc/self/fd")), before + 1)

    def test_other_errors(self) -> None:
        """A full disk is not taken for one without unnamed files."""
        with mock.patch("os.open", side_effect=OSError(errno.ENOSPC, "")):
            error = self.assertRaises(OSError, UnpublishedFile, 0)
        self.assertEqual(error.errno, errno.ENOSPC)


class SweepTests(Case):
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
