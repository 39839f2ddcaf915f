"""
Directories in which the reactor's own thread may open files, as far as the kernel has everything
in memory: on a local file system, and reached without a symlink.
"""

from __future__ import annotations

import os

from chatfiles.posix.filesystems import device, is_local, reads_without_waiting
from chatfiles.posix.openat2 import WouldWait, by_cache_across, cache_answers
from chatfiles.workspace.files.open_beneath import open_directory

__all__ = ["CachedDirectory"]


class CachedDirectory:
    """
    A directory that is near once a thread has found it so, for as long as what is there is of the
    same file system; found anew at each use.

    :param path: absolute, without ``.``, ``..`` or doubled slashes.
    """

    __slots__ = ("_device", "_path")

    def __init__(self, path: bytes) -> None:
        self._path = path
        self._device: bytes | None = None  # the one whose cache may be asked, if any

    def learn(self, fd: int, file_fd: int | None = None) -> None:
        """
        Find out whether it is near.  Blocks; never fails.

        :param fd: of the directory, as it is now.
        :param file_fd: of a file beneath it, open for reading, if such are to be read.
        """
        now = device(fd)
        if now == self._device or (file_fd is not None and device(file_fd) != now):
            return
        try:
            suits = is_local(fd) and (file_fd is None or reads_without_waiting(file_fd))
            self._device = now if suits and cache_answers() else None
        except OSError:  # out of descriptors: to be asked again
            self._device = None

    def look(self, file_fd: int | None = None) -> None:
        """As `learn`, for a directory that is not open; one that is not there is not near."""
        try:
            fd = os.open(self._path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            self._device = None
            return
        try:
            self.learn(fd, file_fd)
        finally:
            os.close(fd)

    def open_at_once(self) -> int:
        """
        :return: an ``O_PATH`` descriptor, which the caller owns.
        :raise OSError: the directory is not there, or not one.
        :raise WouldWait: it is not near, or the kernel does not know.
        """
        if self._device is None:
            raise WouldWait
        fd = open_directory(self._path, mechanism=by_cache_across)
        if device(fd) != self._device:
            os.close(fd)
            raise WouldWait
        return fd
