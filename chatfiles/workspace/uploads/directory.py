"""
Where uploads are kept: reached without following symlinks, each file invisible until published.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Sequence

from chatfiles.errors import ChatfilesError, NoSpace, WriteFailed

__all__ = ["UPLOAD_SEGMENTS", "IncompleteFile", "UploadDirectory", "write_error"]

#: The directory below ``/workspace`` (CONTRACT 7).
UPLOAD_SEGMENTS = (b".molecule", b"chat-uploads")

_PREFIX, _SUFFIX = ".upload-", ".part"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CLOEXEC
#: How a file system says that it has no unnamed files.
_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL, errno.EPERM})


def write_error(error: OSError) -> ChatfilesError:
    """:return: what the caller is told of *error*."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace()
    return WriteFailed()


class IncompleteFile:
    """
    A file in the making, mode 0600: nobody sees it under a final name.

    :param directory_fd: of the directory in which it will appear.
    :param unnamed: whether to try ``O_TMPFILE``.
    :raise OSError: it cannot be made.
    """

    def __init__(self, directory_fd: int, unnamed: bool = True) -> None:
        self._directory_fd = directory_fd
        self._temporary: str | None = None
        self._published: str | None = None
        self._fd = self._create_unnamed() if unnamed else -1
        if self._fd < 0:
            self._fd = self._create_named()

    def _create_unnamed(self) -> int:
        try:
            return os.open(".", _WRITE | os.O_TMPFILE, 0o600, dir_fd=self._directory_fd)
        except OSError as error:
            if error.errno not in _NO_TMPFILE:
                raise
            return -1

    def _create_named(self) -> int:
        name = f"{_PREFIX}{secrets.token_hex(16)}{_SUFFIX}"
        flags = _WRITE | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        fd = os.open(name, flags, 0o600, dir_fd=self._directory_fd)
        self._temporary = name
        # Whoever sweeps leaves alone what is locked; the lock goes with the process.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd

    def write(self, data: bytes) -> None:
        """
        :raise OSError: it cannot be written.
        """
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def complete(self) -> None:
        """
        Bring everything to the disk.

        :raise OSError: it did not get there.
        """
        os.fsync(self._fd)
        os.close(os.dup(self._fd))  # some file systems tell only at close

    def publish(self, name: str) -> None:
        """
        Make it visible.  Never replaces anything.

        :param name: one segment.
        :raise OSError: it cannot be; ``EEXIST`` when there is something of that name.
        """
        source = self._temporary or f"/proc/self/fd/{self._fd}"
        os.link(
            source,
            name,
            src_dir_fd=self._directory_fd if self._temporary else None,
            dst_dir_fd=self._directory_fd,
            follow_symlinks=self._temporary is None,
        )
        self._published = name

    def withdraw(self) -> None:
        """Make it invisible again."""
        if self._published is not None:
            name, self._published = self._published, None
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._directory_fd)

    def close(self) -> None:
        """Forget it; what was not published is gone.  Idempotent."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with contextlib.suppress(OSError):
                os.close(fd)
        if self._temporary is not None:
            name, self._temporary = self._temporary, None
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._directory_fd)


class UploadDirectory:
    """
    ``/workspace/.molecule/chat-uploads`` of a workspace.

    :param open_root: opens the directory of ``/workspace``; the caller closes the descriptor.
    :param unnamed: whether to try ``O_TMPFILE``; a file system may not have it.
    """

    def __init__(self, open_root: Callable[[], int], *, unnamed: bool = True) -> None:
        self._open_root = open_root
        self._unnamed = unnamed

    def open(self, *, create: bool = True) -> int:
        """
        :param create: make what is missing, mode 0700.
        :return: a descriptor of the directory.
        :raise OSError: it cannot be reached; ``ELOOP`` or ``ENOTDIR`` when something else is there.
        """
        fd = self._open_root()
        for segment in UPLOAD_SEGMENTS:
            try:
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(segment, 0o700, dir_fd=fd)
                below = os.open(segment, _DIRECTORY, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        return fd

    def new_file(self, directory_fd: int) -> IncompleteFile:
        """:return: a file in the making in the directory."""
        return IncompleteFile(directory_fd, self._unnamed)

    def sweep(self) -> int:
        """
        Remove what a killed process has left.  Blocks.

        :return: how many files.
        """
        try:
            fd = self.open(create=False)
        except (OSError, ChatfilesError):
            return 0
        try:
            leftovers = [
                name
                for name in os.listdir(fd)
                if name.startswith(_PREFIX) and name.endswith(_SUFFIX)
            ]
            return sum(_remove_unlocked(fd, name) for name in leftovers)
        finally:
            os.close(fd)


def _remove_unlocked(directory_fd: int, name: str) -> bool:
    try:
        fd = os.open(name, _WRITE | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory_fd)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=directory_fd)
    except OSError:
        return False  # another process is writing it
    finally:
        os.close(fd)
    return True


def publish_all(files: Sequence[tuple[IncompleteFile, str]], directory_fd: int) -> None:
    """
    Make all of *files* visible under their names, or none.

    :raise OSError: one of them could not be.
    """
    done: list[IncompleteFile] = []
    try:
        for file, name in files:
            file.publish(name)
            done.append(file)
        os.fsync(directory_fd)
    except BaseException:
        for file in done:
            file.withdraw()
        raise
