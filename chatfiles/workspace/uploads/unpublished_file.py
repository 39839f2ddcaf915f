"""
Files in the making: nobody sees one under a final name before it is published.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import secrets

from chatfiles.posix.rename_noreplace import rename_new

__all__ = ["PART", "PREFIX", "UnpublishedFile", "can_name_later", "create_locked", "write_all"]

#: How the names of what must not outlive the process begin, and how that of a part ends.
PREFIX, PART = ".upload-", ".part"

_WRITE = os.O_WRONLY | os.O_CLOEXEC
#: How a file system says that it has no unnamed files.
_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL, errno.EPERM})
#: How one says that a file can have one name only (FAT, and much of what FUSE brings), or that the
#: one without a name is not on the same file system as its directory (layers of some kinds).
_NO_LINKS = frozenset(
    {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EINVAL}
)
#: Bytes after which the system is told to begin with writing: else it keeps a tenth of the memory
#: back, and whoever waits for a large file to be on the disk waits for that.
_WRITE_OUT = 8 << 20
_SYNC_FILE_RANGE_WRITE = 2
#: Names that are tried when a sweep comes between the creation of a file and its lock.
_TRIES = 8

_libc = ctypes.CDLL(None, use_errno=True)


def create_locked(directory_fd: int, suffix: str) -> tuple[int, str]:
    """
    Create a file, mode 0600, that no sweep removes while this process lives: whoever sweeps leaves
    alone what is locked, and the lock goes with the process.

    :return: a descriptor that writes to it, and its name.
    :raise OSError: it cannot be created.
    """
    flags = _WRITE | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    for _ in range(_TRIES):
        name = f"{PREFIX}{secrets.token_hex(16)}{suffix}"
        fd = os.open(name, flags, 0o600, dir_fd=directory_fd)
        if _lock(fd):
            return fd, name
        os.close(fd)
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def _lock(fd: int) -> bool:
    """:return: whether the file is ours: not locked, and perhaps removed, by a sweep."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks
    return os.fstat(fd).st_nlink > 0


def write_all(fd: int, data: bytes) -> None:
    """
    :raise OSError: not all of it could be written.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def can_name_later(directory_fd: int) -> bool:
    """
    Try it: not every file system that has files without a name lets them be given one.

    :return: whether a file that is made without a name in that directory can be published.
    :raise OSError: it cannot be told, such as on a full disk.
    """
    file = UnpublishedFile(directory_fd)
    try:
        if file.has_name:
            return False
        file.publish(f"{PREFIX}{secrets.token_hex(16)}{PART}")  # a sweep may remove it
        file.withdraw()
    except OSError as error:
        if error.errno not in _NO_LINKS | {errno.ENOENT}:
            raise
        return False
    finally:
        file.close()
    return True


class UnpublishedFile:
    """
    A file in the making, mode 0600.

    :param directory_fd: of the directory in which it will appear.
    :param unnamed: whether to try ``O_TMPFILE``.
    :raise OSError: it cannot be made.
    """

    def __init__(self, directory_fd: int, unnamed: bool = True) -> None:
        self._directory_fd = directory_fd
        self._temporary: str | None = None
        self._published: str | None = None
        self._written = self._on_its_way = 0
        self._fd = self._create_unnamed() if unnamed else -1
        if self._fd < 0:
            self._fd, self._temporary = create_locked(directory_fd, PART)

    @property
    def has_name(self) -> bool:
        """Whether it has a temporary one."""
        return self._temporary is not None

    def _create_unnamed(self) -> int:
        try:
            fd = os.open(".", _WRITE | os.O_TMPFILE, 0o600, dir_fd=self._directory_fd)
        except OSError as error:
            if error.errno not in _NO_TMPFILE:
                raise
            return -1
        if os.path.exists(f"/proc/self/fd/{fd}"):
            return fd
        os.close(fd)  # without /proc it could never be given a name
        return -1

    def write(self, data: bytes) -> None:
        """
        :raise OSError: it cannot be written.
        """
        write_all(self._fd, data)
        self._written += len(data)
        if self._written - self._on_its_way >= _WRITE_OUT:
            _write_out(self._fd, self._on_its_way, self._written - self._on_its_way)
            self._on_its_way = self._written

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
        if self._temporary is None:
            os.link(f"/proc/self/fd/{self._fd}", name, dst_dir_fd=self._directory_fd)
        else:
            self._link_or_move(self._temporary, name)
        self._published = name

    def _link_or_move(self, temporary: str, name: str) -> None:
        there = self._directory_fd
        try:
            os.link(temporary, name, src_dir_fd=there, dst_dir_fd=there, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _move(there, temporary, name)
            self._temporary = None

    def withdraw(self) -> None:
        """Make it invisible again."""
        if self._published is not None:
            name, self._published = self._published, None
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._directory_fd)

    def close(self) -> None:
        """Write no more; what was not published is gone.  Idempotent."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with contextlib.suppress(OSError):
                os.close(fd)
        if self._temporary is not None:
            name, self._temporary = self._temporary, None
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._directory_fd)


def _write_out(fd: int, offset: int, length: int) -> None:
    """Have the disk begin with a span.  What fails is told by ``fsync``."""
    _libc.sync_file_range(
        fd, ctypes.c_int64(offset), ctypes.c_int64(length), _SYNC_FILE_RANGE_WRITE
    )


def _move(directory_fd: int, old: str, new: str) -> None:
    """Rename without replacing."""
    if rename_new(os.fsencode(old), os.fsencode(new), directory_fd):
        return
    # The name is random, and nobody else has been told of it yet.
    with contextlib.suppress(FileNotFoundError):
        os.stat(new, dir_fd=directory_fd, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.rename(old, new, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
