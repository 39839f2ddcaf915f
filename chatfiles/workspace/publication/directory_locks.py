"""
Makes the role's changes to one directory happen one after the other, in all its processes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Lock
from typing import Final
from weakref import WeakValueDictionary
from zlib import crc32

__all__ = ["DirectoryLocks"]

#: Where the bytes begin that are locked, and their number: so many that no two directories share
#: one, because one of them may be on a disk that hangs.  The file need not be so long.
_LOCKS_AT: Final = 1 << 52
_LOCKS: Final = 1 << 48
#: Seconds after which a lock is tried again.
_RETRY: Final = 0.002


class DirectoryLocks:
    """
    Locks of directories, to hold for as long as it takes to look at a name and to change it.

    A lock of the directory itself would not do: an agent could keep it locked.

    :param fd: a file that all processes of the role have open for writing.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._threads: WeakValueDictionary[int, Lock] = WeakValueDictionary()
        self._choosing = Lock()

    @contextmanager
    def of(self, *directories: int) -> Iterator[None]:
        """
        Lock directories meanwhile.  Blocks.

        :param directories: their descriptors.
        """
        numbers = {hash(_inode(fd)) % _LOCKS for fd in directories}
        with ExitStack() as stack:
            for number in sorted(numbers):  # in this order, two changes never wait for each other
                stack.enter_context(self._of(number))
            yield

    def of_name(self, directory_fd: int, name: bytes) -> AbstractContextManager[None]:
        """
        Lock one name of a directory meanwhile, for a change that takes long.  Blocks.

        :param name: one segment.
        """
        return self._of(hash((*_inode(directory_fd), crc32(name))) % _LOCKS)

    @contextmanager
    def _of(self, number: int) -> Iterator[None]:
        with self._of_threads(number), self._of_processes(number):
            yield

    def _of_threads(self, number: int) -> Lock:
        with self._choosing:
            return self._threads.setdefault(number, Lock())

    @contextmanager
    def _of_processes(self, number: int) -> Iterator[None]:
        while not self._is_locked(number):
            time.sleep(_RETRY)
        try:
            yield
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, _LOCKS_AT + number)

    def _is_locked(self, number: int) -> bool:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, _LOCKS_AT + number)
        except OSError as error:
            # Two processes wait for each other, but different threads of them: the kernel takes
            # this for a deadlock (fcntl(2)).
            if error.errno != errno.EDEADLK:
                raise
            return False
        return True


def _inode(fd: int) -> tuple[int, int]:
    facts = os.fstat(fd)
    return facts.st_dev, facts.st_ino
