"""
Directories in which the reactor thread may open files if the kernel has all it needs in memory.
They are on a local file system, and their path has no symlink.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from chatfiles.posix.filesystems import device, is_local, reads_without_waiting
from chatfiles.posix.openat2 import HANDLE, WouldWait, by_cache_across, cache_answers
from chatfiles.workspace.files.open_beneath import top

__all__ = ["CachedDirectory"]


class CachedDirectory:
    """
    A directory that can be opened without blocking, after a thread has found it on a local file
    system that can be read from memory, and while the same file system is mounted there.  Each use
    resolves the path from the start.

    :param path: absolute, without ``.``, ``..`` or doubled slashes.
    """

    __slots__ = ("_device", "_path", "_segments")

    def __init__(self, path: bytes) -> None:
        self._path = path
        self._segments = tuple(filter(None, path.split(b"/")))
        self._device: bytes | None = None  # the local file system, if any

    @property
    def path(self) -> bytes:
        """The path of the directory."""
        return self._path

    def examine(self, fd: int, file_fd: int | None = None) -> None:
        """
        Determine whether the directory can be opened without blocking.  Blocks; never fails.

        :param fd: the directory, open.
        :param file_fd: a file beneath it, open for reading, if files will be read there.
        """
        now = device(fd)
        if now == self._device or (file_fd is not None and device(file_fd) != now):
            return
        try:
            is_usable = is_local(fd) and (file_fd is None or reads_without_waiting(file_fd))
            self._device = now if is_usable and cache_answers() else None
        except OSError:  # no free descriptor: the next call retries
            self._device = None

    def examine_path(self, file_fd: int | None = None) -> None:
        """Like `examine`, for a directory that is not open and may be missing."""
        try:
            fd = os.open(self._path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            self._device = None
            return
        try:
            self.examine(fd, file_fd)
        finally:
            os.close(fd)

    def open_at_once(self) -> int:
        """
        Open the directory.  Never blocks.

        :return: an ``O_PATH`` descriptor, to be closed after use.
        :raise OSError: the directory is missing, or is not a directory.
        :raise WouldWait: it is on no local file system, or not in the kernel's cache.
        """
        if self._device is None:
            raise WouldWait
        segments = self._segments or (b".",)
        fd = by_cache_across(top(), segments, HANDLE)
        if device(fd) != self._device:
            os.close(fd)
            raise WouldWait
        return fd

    def open_beneath_at_once(self, segments: Sequence[bytes]) -> int:
        """
        Open a path beneath the directory in one step.  Never blocks.

        :param segments: one or more names, bytes; none is empty, ``.`` or ``..``.
        :return: an ``O_PATH`` descriptor, to be closed after use.
        :raise OSError: the directory or the path is missing, or has a symlink.
        :raise WouldWait: it is on another file system, or not in the kernel's cache.
        """
        if self._device is None:
            raise WouldWait
        fd = by_cache_across(top(), (*self._segments, *segments), os.O_PATH | os.O_CLOEXEC)
        if device(fd) != self._device:
            os.close(fd)
            raise WouldWait
        return fd
