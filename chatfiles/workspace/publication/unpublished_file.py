"""
Files that are being written.  A file has no final name until it is published.

Most file systems have files without any name (``O_TMPFILE``).  Elsewhere, and for the moment in
which a file replaces another one, it has a temporary name that is hidden from clients.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import secrets
import stat

from chatfiles.posix.atomic_file import write_all
from chatfiles.posix.rename_noreplace import NO_HARD_LINKS, rename_new
from chatfiles.workspace.publication.leftovers import PART, PREFIX

__all__ = ["UnnamedFiles", "UnpublishedFile", "can_name_later", "create_locked"]

Name = str | bytes

#: Files written in place are read again.
_WRITE = os.O_RDWR | os.O_CLOEXEC
#: Errors of a file system without unnamed files.
_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL, errno.EPERM})
#: Bytes after which the kernel is asked to start writing.  Otherwise it collects up to a tenth of
#: the memory, and the final flush of a large file takes that much longer.
_START_WRITING = 8 << 20
_SYNC_FILE_RANGE_WRITE = 2
#: Attempts, in case a sweep comes between the creation of a file and its lock.
_TRIES = 8

_libc = ctypes.CDLL(None, use_errno=True)


def create_locked(directory_fd: int, suffix: str) -> tuple[int, str]:
    """
    Create a locked file with mode 0600.  A sweep does not remove locked files.  The lock ends with
    this process.

    :return: a descriptor for writing, and the file's name.
    :raise OSError: it cannot be created.
    """
    flags = _WRITE | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    for _ in range(_TRIES):
        name = _temporary_name(suffix)
        fd = os.open(name, flags, 0o600, dir_fd=directory_fd)
        if _lock(fd):
            return fd, name
        os.close(fd)
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def _temporary_name(suffix: str) -> str:
    return f"{PREFIX}{secrets.token_hex(16)}{suffix}"


def _lock(fd: int) -> bool:
    """:return: whether this process holds the lock and no sweep has removed the file."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks
    return os.fstat(fd).st_nlink > 0


def can_name_later(directory_fd: int) -> bool:
    """
    Try to name an unnamed file.  Not every file system with unnamed files supports this.

    :return: whether an unnamed file in that directory can be published.
    :raise OSError: this cannot be determined, such as on a full disk.
    """
    file = UnpublishedFile(directory_fd)
    try:
        if file.has_name:
            return False
        file.publish(_temporary_name(PART))  # a sweep may remove it
        file.withdraw()
    except OSError as error:
        if error.errno not in NO_HARD_LINKS | {errno.ENOENT}:
            raise
        return False
    finally:
        file.close()
    return True


class UnnamedFiles:
    """
    Creates unpublished files in any directory, and remembers which file systems have files without
    a name that can be published.  Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._devices: dict[int, bool] = {}

    def new_file(self, directory_fd: int) -> UnpublishedFile:
        """
        :return: a new file in the directory that is not visible yet.
        :raise OSError: it cannot be created.
        """
        device = os.fstat(directory_fd).st_dev
        if device not in self._devices:
            self._devices[device] = can_name_later(directory_fd)
        return UnpublishedFile(directory_fd, self._devices[device])


class UnpublishedFile:
    """
    A file with mode 0600 that is being written and has no final name yet.

    :param directory_fd: the directory in which it will be published.
    :param unnamed: whether to try ``O_TMPFILE``.
    :raise OSError: it cannot be created.
    """

    def __init__(self, directory_fd: int, unnamed: bool = True) -> None:
        self._directory_fd = directory_fd
        self._temporary: str | None = None
        self._published: Name | None = None
        self._written = self._flushed = 0
        self._mode = 0o600
        self._fd = self._create_unnamed() if unnamed else -1
        if self._fd < 0:
            self._fd, self._temporary = create_locked(directory_fd, PART)

    @classmethod
    def existing(cls, directory_fd: int, fd: int, name: str, size: int) -> UnpublishedFile:
        """
        Take over a file that has a temporary name, such as that of a resumable upload.

        :param directory_fd: the directory in which it is, and will be published.
        :param fd: the file, open for writing at its end; `close` closes it.
        :param name: its temporary name.  `close` removes it, unless `keep` was called.
        :param size: its bytes.
        :return: the file.
        """
        file = cls.__new__(cls)
        file._directory_fd, file._fd, file._temporary = directory_fd, fd, name
        file._published, file._mode = None, stat.S_IMODE(os.fstat(fd).st_mode)
        file._written = file._flushed = size
        return file

    @property
    def fd(self) -> int:
        """Its descriptor; -1 after `close`."""
        return self._fd

    @property
    def has_name(self) -> bool:
        """Whether it has a temporary name."""
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
        os.close(fd)  # without /proc it can never get a name
        return -1

    def write(self, data: bytes) -> None:
        """
        Append *data* to the file.

        :raise OSError: it cannot be written.
        """
        write_all(self._fd, data)
        self._written += len(data)
        if self._written - self._flushed >= _START_WRITING:
            _start_writing(self._fd, self._flushed, self._written - self._flushed)
            self._flushed = self._written

    def complete(self) -> None:
        """
        Flush the file to the disk.

        :raise OSError: it could not be flushed.
        """
        os.fsync(self._fd)
        os.close(os.dup(self._fd))  # some file systems report errors only at close

    def set_mode(self, mode: int) -> None:
        """
        :param mode: its permission bits.
        :raise OSError: they cannot be set.
        """
        if mode != self._mode:
            os.fchmod(self._fd, mode)
            self._mode = mode

    def publish(self, name: Name) -> None:
        """
        Give the file its final name.  Never replaces another file.

        :param name: one segment.
        :raise OSError: it could not be named; ``EEXIST`` if the name exists.
        """
        if self._temporary is None:
            os.link(f"/proc/self/fd/{self._fd}", name, dst_dir_fd=self._directory_fd)
        else:
            self._link_or_move(self._temporary, name)
        self._published = name

    def replace(self, name: Name) -> None:
        """
        Give the file its final name, in place of the file that has it.  A reader sees the old file
        or this one.

        :param name: one segment.
        :raise OSError: it could not be named; ``EISDIR`` if a directory has the name.
        """
        if self._temporary is None:
            self._name_temporarily()
        assert self._temporary is not None
        there = self._directory_fd
        os.rename(self._temporary, name, src_dir_fd=there, dst_dir_fd=there)
        self._temporary, self._published = None, name

    def _name_temporarily(self) -> None:
        _lock(self._fd)  # before a sweep can see it
        name = _temporary_name(PART)
        os.link(f"/proc/self/fd/{self._fd}", name, dst_dir_fd=self._directory_fd)
        self._temporary = name

    def _link_or_move(self, temporary: str, name: Name) -> None:
        there = self._directory_fd
        try:
            os.link(temporary, name, src_dir_fd=there, dst_dir_fd=there, follow_symlinks=False)
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            _move(there, temporary, name)
            self._temporary = None
        else:
            self._remove_temporary()  # now, because it changes the file's version

    def _remove_temporary(self) -> None:
        if self._temporary is not None:
            name, self._temporary = self._temporary, None
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._directory_fd)

    def keep(self) -> None:
        """Keep the temporary name at `close`."""
        self._temporary = None

    def withdraw(self) -> None:
        """Remove its final name."""
        if self._published is not None:
            name, self._published = self._published, None
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._directory_fd)

    def close(self) -> None:
        """Close the file; it is deleted if it was not published.  Idempotent."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with contextlib.suppress(OSError):
                os.close(fd)
        self._remove_temporary()


def _start_writing(fd: int, offset: int, length: int) -> None:
    """Ask the kernel to start writing a range of bytes.  ``fsync`` reports its failures."""
    _libc.sync_file_range(
        fd, ctypes.c_int64(offset), ctypes.c_int64(length), _SYNC_FILE_RANGE_WRITE
    )


def _move(directory_fd: int, old: Name, new: Name) -> None:
    """Rename without replacing."""
    if rename_new(os.fsencode(old), os.fsencode(new), directory_fd):
        return
    # The name is random and not published yet, so no other process uses it.
    with contextlib.suppress(FileNotFoundError):
        os.stat(new, dir_fd=directory_fd, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.rename(old, new, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
