"""
Makes the role's changes to one directory happen one after the other, in all its processes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import Final

__all__ = ["DirectoryLocks"]

#: The number of locks; directories share them.
_LOCKS: Final = 64
#: Where the bytes begin that are locked.  The file need not be so long.
_LOCKS_AT: Final = 2 << 20


class DirectoryLocks:
    """
    Locks of directories, to hold for as long as it takes to look at a name and to change it.

    A lock of the directory itself would not do: an agent could keep it locked.

    :param fd: a file that all processes of the role have open for writing.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._threads = [Lock() for _ in range(_LOCKS)]

    @contextmanager
    def of(self, *directories: int) -> Iterator[None]:
        """
        Lock directories meanwhile.  Blocks.

        :param directories: their descriptors.
        """
        numbers = {hash(_inode(fd)) % _LOCKS for fd in directories}
        with ExitStack() as stack:
            for number in sorted(numbers):  # in this order, two changes never wait for each other
                stack.enter_context(self._threads[number])
                stack.enter_context(self._of_processes(number))
            yield

    @contextmanager
    def _of_processes(self, number: int) -> Iterator[None]:
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, _LOCKS_AT + number)
        try:
            yield
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, _LOCKS_AT + number)


def _inode(fd: int) -> tuple[int, int]:
    facts = os.fstat(fd)
    return facts.st_dev, facts.st_ino
