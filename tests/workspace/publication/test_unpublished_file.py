"""
Tests for `chatfiles.workspace.publication.unpublished_file`, and that all files of a request are
published or none (reference/uploads, "All or nothing").
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from typing import Any
from unittest import mock

from chatfiles.workspace.publication.unpublished_file import UnpublishedFile
from chatfiles.workspace.uploads.all_or_none import publish_all
from chatfiles.workspace.uploads.upload_directory import UploadDirectory
from tests.workspace.uploads.uploads_case import (
    HEX,
    KILLED,
    A,
    B,
    C,
    UploadsCase,
    in_child,
)


class UnnamedFileTests(UploadsCase):
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
        files, fd, real = self.several(), self.open_directory(), os.unlink

        def unlink(name: str, **more: int) -> None:
            if name.endswith(".note"):
                os._exit(KILLED)
            real(name, **more)

        def act() -> None:
            with mock.patch("os.unlink", unlink):
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
            self.assertRegex(name, r"\A\.chatfiles-part-[0-9a-f]{32}\.part\Z")
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


class FallbackTests(UploadsCase):
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
