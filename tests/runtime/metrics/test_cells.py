"""
The memory of the metrics.
"""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.metrics.cells import Cells, observe, reserve
from chatfiles.runtime.metrics.families import Combine, Family, Kind, Layout

COUNTER = Family("c_total", Kind.COUNTER, "counts", ("a",), [("x",), ("y",)])
GAUGE = Family("g", Kind.GAUGE, "a gauge")
LEAST = Family("l", Kind.GAUGE, "the least", combine=Combine.LEAST)
TIMER = Family("t", Kind.HISTOGRAM, "seconds", buckets=(0.1, 1.0))
LAYOUT = Layout([COUNTER, GAUGE, LEAST, TIMER])


class CellsTests(SynchronousTestCase):
    """The numbers of two processes, as both of them and a third one see them."""

    def setUp(self) -> None:
        self.fd = os.memfd_create("test")
        self.addCleanup(os.close, self.fd)
        reserve(self.fd, LAYOUT, 2)
        self.sums = Cells(LAYOUT, 2, self.fd)
        self.first, self.second = (Cells(LAYOUT, 2, self.fd).begin(number) for number in (0, 1))

    def value(self, family: Family, *labels: str) -> list[float]:
        """:return: the numbers of a child, of all processes together."""
        return list(self.sums.combined(family, LAYOUT.children(family.name)[labels]))

    def test_counters(self) -> None:
        """Counters of all processes are added, also of one that has ended."""
        at = LAYOUT.children("c_total")["y",]
        self.first[at] += 2
        self.second[at] += 3
        self.assertEqual(self.value(COUNTER, "y"), [5])
        self.assertEqual(self.value(COUNTER, "x"), [0])
        self.assertTrue(self.sums.is_used(at))
        self.assertFalse(self.sums.is_used(at - 1))
        self.sums.forget(1)
        self.assertEqual(self.value(COUNTER, "y"), [5])
        again = Cells(LAYOUT, 2, self.fd).begin(1)
        again[at] += 1
        self.assertEqual(self.value(COUNTER, "y"), [6])

    def test_gauges(self) -> None:
        """Gauges count while their process runs; a process begins with 0."""
        for name in ("g", "l"):
            at = LAYOUT.children(name)[()]
            self.first[at], self.second[at] = 7, 1
        self.assertEqual((self.value(GAUGE), self.value(LEAST)), ([8], [1]))
        self.sums.forget(1)
        self.assertEqual((self.value(GAUGE), self.value(LEAST)), ([7], [7]))
        Cells(LAYOUT, 2, self.fd).begin(0)
        self.assertEqual((self.value(GAUGE), self.value(LEAST)), ([0], [0]))
        self.sums.forget(0)
        self.assertEqual(self.value(LEAST), [0])

    def test_histogram(self) -> None:
        """A bound belongs to its bucket; there is a bucket above the last bound."""
        at = LAYOUT.children("t")[()]
        for numbers, seconds in ((self.first, 0.1), (self.second, 0.5), (self.second, 9.0)):
            observe(numbers, at, TIMER.buckets, seconds)
        self.assertEqual(self.value(TIMER), [1, 1, 1, 9.6])

    def test_single(self) -> None:
        """A single process needs no file."""
        cells = Cells(LAYOUT)
        at = LAYOUT.children("c_total")["x",]
        cells.begin(0)[at] += 1
        self.assertEqual(list(cells.combined(COUNTER, at)), [1])
