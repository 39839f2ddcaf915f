"""
How many connections each worker has, in memory that all processes share.

All workers are woken for a new connection, and the first one to run could accept all of a burst.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from typing import Final

__all__ = ["MOST_WORKERS", "Load", "SharedLoads"]

MOST_WORKERS: Final = 64
_SIZE: Final = 4
#: How many connections more than another worker a worker may have before it leaves new ones to it.
_TOLERATED: Final = 1


class SharedLoads:
    """
    The connections of all workers.

    :param fd: of the shared memory, made by `create`; ``mmap`` duplicates it.
    """

    def __init__(self, fd: int) -> None:
        self._values = memoryview(mmap.mmap(fd, _SIZE * MOST_WORKERS)).cast("I")

    @staticmethod
    def create() -> int:
        """:return: a descriptor of new shared memory: no worker serves."""
        fd = os.memfd_create("chatfiles-workers")
        os.ftruncate(fd, _SIZE * MOST_WORKERS)
        return fd

    def set(self, number: int, connections: int) -> None:
        """
        :param number: of a worker, from 1 to `MOST_WORKERS`.
        :param connections: that it has.
        """
        self._values[number - 1] = connections + 1

    def forget(self, number: int) -> None:
        """:param number: of a worker that accepts no more connections."""
        self._values[number - 1] = 0

    def least(self) -> int:
        """:return: the fewest connections of a worker that serves; 0 if none does."""
        return min(filter(None, self._values), default=1) - 1


class Load:
    """
    The connections of one worker, and those of the others.

    :param loads: of all workers.
    :param number: of this worker.
    :param connections: returns how many connections it has.
    """

    def __init__(self, loads: SharedLoads, number: int, connections: Callable[[], int]) -> None:
        self._loads = loads
        self._number = number
        self._connections = connections

    def is_ahead(self) -> bool:
        """:return: whether another worker has fewer connections and should accept the next one."""
        mine = self._connections()
        self._loads.set(self._number, mine)
        return mine > self._loads.least() + _TOLERATED

    def forget(self) -> None:
        """This worker accepts no more connections."""
        self._loads.forget(self._number)
