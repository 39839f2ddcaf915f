"""
The numbers of the processes of a role, in memory that all of them share.

A process adds to its own numbers.  They stay when it ends, and the process that replaces it
continues from them, so that no counter ever goes down.  Each number is written in one piece.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, TypeAlias

from chatfiles.runtime.metrics.families import Combine, Family, Kind, Layout

__all__ = ["AT", "Cells", "Numbers", "observe", "reserve"]

#: Where they begin in the file that the workers share: a multiple of the size of a page.
AT: Final = 1 << 16
_BYTES: Final = 8

#: The numbers of one process.
Numbers: TypeAlias = "memoryview[float]"


def reserve(fd: int, layout: Layout, processes: int) -> None:
    """
    Make room in a file that processes share.

    :param fd: of the file.
    :param processes: how many there are.
    """
    os.ftruncate(fd, AT + processes * layout.size * _BYTES)


class Cells:
    """
    The numbers of all processes.

    :param layout: where each number is.
    :param processes: how many there are.
    :param fd: a file with room for them, see `reserve`; ``None`` for a single process.
    """

    def __init__(self, layout: Layout, processes: int = 1, fd: int | None = None) -> None:
        length = processes * layout.size * _BYTES
        memory = mmap.mmap(-1, length) if fd is None else mmap.mmap(fd, AT + length)
        self._all = memoryview(memory)[0 if fd is None else AT :].cast("d")
        self._layout = layout
        self._processes = processes

    def of(self, process: int) -> Numbers:
        """
        :param process: its number, from 0.
        :return: its numbers.
        """
        size = self._layout.size
        return self._all[process * size : (process + 1) * size]

    def begin(self, process: int) -> Numbers:
        """
        :param process: has just started.
        :return: its numbers.
        """
        numbers = self.of(process)
        self.forget(process)
        numbers[0] = 1
        return numbers

    def forget(self, process: int) -> None:
        """:param process: has ended; its gauges no longer count."""
        numbers = self.of(process)
        for at in self._layout.gauges():
            numbers[at] = 0
        numbers[0] = 0

    def is_used(self, at: int) -> bool:
        """:return: whether any process has counted at this place."""
        size = self._layout.size
        return any(self._all[process * size + at] for process in range(self._processes))

    def combined(self, family: Family, at: int) -> Sequence[float]:
        """
        :param at: the place of the first number of a child.
        :return: the numbers of this child, for all processes together.
        """
        every = [self.of(process) for process in range(self._processes)]
        if family.kind is Kind.GAUGE:
            values = [numbers[at] for numbers in every if numbers[0]]
            combine = min if family.combine is Combine.LEAST else sum
            return [combine(values) if values else 0.0]
        places = range(at, at + family.width)
        return [sum(numbers[place] for numbers in every) for place in places]


def observe(numbers: Numbers, at: int, buckets: Sequence[float], value: float) -> None:
    """
    Count *value* in a histogram.

    :param at: the place of the first number of the child.
    """
    numbers[at + bisect_left(buckets, value)] += 1
    numbers[at + len(buckets) + 1] += value
