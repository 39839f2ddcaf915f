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
