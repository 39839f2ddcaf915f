"""
Files that are written in place, for file systems on which a rename fails (``--write-in-place``).

This is not atomic: a reader may see a part of the new file, and the old one is gone when the first
byte arrives (reference/writes, "Writing in place").
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from chatfiles.errors import NotARegularFile
from chatfiles.model import FileFacts
from chatfiles.posix.atomic_file import write_all
from chatfiles.rules.conditional_requests import WriteConditions
from chatfiles.workspace.files.targets import Target
from chatfiles.workspace.publication.publisher import Published, Publisher

__all__ = ["InPlaceFile"]

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
#: Errors of ``fsync`` on a file system that has none.
_NO_SYNC = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


class InPlaceFile:
    """
    A file that is written under its final name.

    :param target: its place.
    :param publisher: checks the conditions, when the file is opened.
    :param conditions: of the request.
    :param mode: see `Publisher.mode_for`.
    """

    def __init__(
        self, target: Target, publisher: Publisher, conditions: WriteConditions, mode: int | None
    ) -> None:
        self._target = target
        self._publisher = publisher
        self._conditions = conditions
        self._mode = mode
        self._fd = -1
        self._is_new = self._is_begun = self._is_complete = False

    def write(self, data: bytes) -> None:
        """
        Append *data*.  The first call empties the file.

        :raise OSError: it cannot be written.
        :raise chatfiles.errors.ChatfilesError: the target may not be written any more.
        """
        self._begin()
        write_all(self._fd, data)

    def complete(self) -> None:
        """
        Flush and close the file.

        :raise OSError: a byte could not be stored; some file systems say so only now.
        """
        self._begin()
        try:
            os.fsync(self._fd)
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise
        fd, self._fd = self._fd, -1
        os.close(fd)
        self._is_complete = True

    def publish(self) -> Published:
        """
        :return: the complete file.
        :raise NotARegularFile: another process has replaced it.
        """
        facts = self._target.look_at_file()
        if facts is None:
            raise NotARegularFile
        self._target.keep_directories()
        return self._publisher.published(FileFacts.of(facts), self._is_new)

    def close(self) -> None:
        """Close the file; it is removed if it was begun and is not complete.  Idempotent."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with contextlib.suppress(OSError):
                os.close(fd)
        if self._is_begun and not self._is_complete:
            self._is_begun = False
            with contextlib.suppress(OSError):
                os.unlink(self._target.name, dir_fd=self._target.directory_fd)

    def _begin(self) -> None:
        if self._is_begun:
            return
        target = self._target
        with self._publisher.locks.of(target.directory_fd):
            there = target.look_at_file()
            self._publisher.require(self._conditions, there)
            mode = self._publisher.mode_for(self._mode, there)
            how = os.O_EXCL if there is None else os.O_TRUNC
            self._fd = os.open(target.name, _FLAGS | how, mode, dir_fd=target.directory_fd)
            self._is_new, self._is_begun = there is None, True
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            self._is_begun = False  # it is not ours to remove
            raise NotARegularFile
        if self._mode is not None:
            os.fchmod(self._fd, mode)
