"""
`bench.summary`.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bench.summary import Spread, ratios, spread

VALUES = st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=9)


class SummaryTests(SynchronousTestCase):
    """Medians, spreads and ratios."""

    def test_spread(self) -> None:
        """The order of values does not matter, and an even number has a median too."""
        self.assertEqual(spread([3.0, 1.0, 2.0]), Spread(2.0, 1.0, 3.0))
        self.assertEqual(spread([4.0, 1.0]), Spread(2.5, 1.0, 4.0))

    def test_nothing(self) -> None:
        """No values have no median."""
        self.assertRaises(ValueError, spread, [])
        self.assertRaises(ValueError, ratios, [], [])

    def test_ratios(self) -> None:
        """Each round is compared with itself, because what disturbs it disturbs both."""
        self.assertEqual(ratios([1.0, 10.0, 4.0], [2.0, 20.0, 4.0]), Spread(0.5, 0.5, 1.0))

    def test_missing_round(self) -> None:
        """Systems that were not measured equally often are not compared."""
        self.assertRaises(ValueError, ratios, [1.0, 2.0], [1.0])

    @given(VALUES)
    def test_bounds(self, values: list[float]) -> None:
        """The median lies between the lowest and the highest value."""
        found = spread(values)
        self.assertTrue(found.low <= found.median <= found.high)

    @given(VALUES)
    def test_itself(self, values: list[float]) -> None:
        """A system is as fast as itself."""
        self.assertEqual(ratios(values, values), Spread(1.0, 1.0, 1.0))
