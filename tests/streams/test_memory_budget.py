"""
The memory that transfers share.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.streams.memory_budget import PIECE, MemoryBudget
from chatfiles.streams.transports import SMALL_READ


class MemoryBudgetTests(SynchronousTestCase):
    """The size for each transfer, which shrinks with their number."""

    def test_sizes(self) -> None:
        """All of them together are bounded, but no transfer has less than `SMALL_READ`."""
        budget = MemoryBudget()
        seen = [budget.size]
        for _ in range(1000):
            budget.change(1)
            seen.append(budget.size)
        self.assertEqual(seen[:17], [PIECE] * 17)
        self.assertEqual(seen[64], PIECE // 4)
        self.assertEqual(seen[1000], SMALL_READ)
        for _ in range(1000):
            budget.change(-1)
        self.assertEqual(budget.size, PIECE)

    def test_most(self) -> None:
        """A transfer may have more while there are fewer; the limit of all is the same."""
        budget, usual = MemoryBudget(4 * PIECE), MemoryBudget()
        seen = []
        for _ in range(100):
            budget.change(1)
            usual.change(1)
            seen.append(budget.size)
            self.assertLessEqual(budget.size * len(seen), 16 * PIECE)
        self.assertEqual(seen[:5], [4 * PIECE] * 4 + [16 * PIECE // 5])
        self.assertEqual(budget.size, usual.size)
