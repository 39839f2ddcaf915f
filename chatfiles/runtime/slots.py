"""
A limit on how much of something runs at once, in all processes of a role.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["Slots"]

#: Where the bytes begin that are locked.  The file need not be so long.
_LOCKS_AT: Final = 1 << 20


class Slots:
    """
    A number of slots.  With several processes, each slot is a byte of a file, and a process that
    has the slot has a lock on the byte.  The kernel unlocks the bytes of a process that ends.

    :param most: the number of slots.
    :param fd: the file, open for writing in all processes; ``None`` for a single process.
    """

    def __init__(self, most: int, fd: int | None = None) -> None:
        self._most = most
        self._fd = fd
        self._taken: set[int] = set()

    @contextmanager
    def one(self, refusal: Exception) -> Iterator[None]:
        """
        Have a slot meanwhile.

        :param refusal: raised if there is none.
        """
        slot = next(filter(self._take, range(self._most)), None)
        if slot is None:
            raise refusal
        try:
            yield
        finally:
            self._release(slot)

    def _take(self, slot: int) -> bool:
        if slot in self._taken or not self._lock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return False
        self._taken.add(slot)
        return True

    def _release(self, slot: int) -> None:
        self._lock(slot, fcntl.LOCK_UN)
        self._taken.discard(slot)

    def _lock(self, slot: int, operation: int) -> bool:
        """:return: whether no other process has the slot."""
        if self._fd is None:
            return True
        try:
            fcntl.lockf(self._fd, operation, 1, _LOCKS_AT + slot)
        except (BlockingIOError, PermissionError):
            return False
        return True
