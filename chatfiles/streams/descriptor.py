"""
A file descriptor that may be closed while a thread uses it.

The kernel gives the number of a closed descriptor to the next file that is opened.  A thread that
still reads by this number would read from that other file.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

__all__ = ["Descriptor"]


class Descriptor:
    """
    Owns a file descriptor, and closes it when nobody uses it any more.

    One that is dropped without being closed closes itself.

    :param fd: an open file descriptor.
    """

    __slots__ = ("_fd", "_is_closing", "_lock", "_users")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._users = 0
        self._is_closing = False
        self._lock = Lock()

    @property
    def fd(self) -> int:
        """The number, for the thread that calls `close`; -1 from then on."""
        return -1 if self._is_closing else self._fd

    @contextmanager
    def borrow(self) -> Iterator[int]:
        """
        Use the descriptor in another thread than the one that closes it.  It stays open meanwhile.

        :return: a context manager that gives the number.
        :raise OSError: EBADF, it has been closed.
        """
        with self._lock:
            if self._is_closing:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            self._users += 1
        try:
            yield self._fd
        finally:
            with self._lock:
                self._users -= 1
            self._close_if_unused()

    def close(self) -> None:
        """Close it now, or as soon as the last thread that uses it has returned; idempotent."""
        self._is_closing = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        with self._lock:
            if not self._is_closing or self._users:
                return
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()
