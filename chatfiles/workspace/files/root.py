"""
The directory of one root of a workspace.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from chatfiles.posix.filesystems import mount_points
from chatfiles.posix.openat2 import Mechanism, WouldWait, by_cache
from chatfiles.workspace.files.cached_directory import CachedDirectory
from chatfiles.workspace.files.open_beneath import open_directory, open_regular, reopen_regular

__all__ = ["Root"]


class Root:
    """
    The directory of one root.  It is opened again for every file, because it may be replaced or
    appear later.

    If its path has a symlink when the role starts, the operator created it, and symlinks in the
    path are followed from then on.  Otherwise no symlink is followed later: a user who can write
    beside a root must not be able to redirect it.

    :param root: its name.
    :param directory: its directory.
    :ivar path: its directory, absolute.
    :ivar real_path: *path* without symlinks, as it was when the role started; ``None`` until `find`
        has returned.
    :ivar expected: whether the directory must exist: it existed before, or the operator configured
        it.  If it is missing then, requests fail with 500.  A root that is not expected, such as
        ``/plugins`` on a machine without plugins, has no files.
    """

    __slots__ = ("_directory", "_lock", "expected", "path", "real_path")

    def __init__(self, root: bytes, directory: bytes) -> None:
        self.path = os.path.abspath(directory)
        self.real_path: bytes | None = None
        self.expected = self.path != root
        self._directory = CachedDirectory(self.path)
        self._lock = threading.Lock()

    def find(self) -> None:
        """Determine `real_path`, the first time.  Blocks, unless the root is a mount point."""
        with self._lock:
            if self.real_path is None:
                is_mounted = self.path in mount_points()
                real_path = self.path if is_mounted else os.path.realpath(self.path)
                self.expected |= is_mounted or os.path.isdir(self.path)
                self.real_path = real_path

    @property
    def _plain(self) -> bool:
        return self.real_path == self.path

    def open(self, mechanism: Mechanism | None) -> int:
        """
        Open the directory.  Blocks.

        :raise OSError: it is missing, or not a directory.
        """
        if self._plain:
            fd = open_directory(self.path, mechanism=mechanism)
        else:
            fd = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.expected = True
        return fd

    def examine(self, fd: int, file_fd: int) -> None:
        """
        Determine whether the next file may be opened from the kernel's cache.  Blocks; never fails.

        :param fd: the directory, open.
        :param file_fd: a regular file beneath it, open.
        """
        if self._plain:
            self._directory.examine(fd, file_fd)

    def open_file_at_once(self, segments: Sequence[bytes]) -> tuple[int, os.stat_result]:
        """
        Open a regular file beneath the directory for reading, if the kernel has it in memory.

        :return: a descriptor, to be closed after use, and its ``fstat`` result.
        :raise chatfiles.errors.ChatfilesError: it cannot be served.
        :raise WouldWait: it must be opened in a thread.
        """
        try:
            return reopen_regular(self._directory.open_beneath_at_once(segments))
        except OSError:
            pass  # which name is missing, or a symlink, is seen below
        try:
            fd = self._directory.open_at_once()
        except OSError:
            raise WouldWait from None  # `open` reports it
        try:
            return open_regular(fd, segments, mechanism=by_cache)
        finally:
            os.close(fd)
