"""
Statistics of samples that were taken in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Spread", "ratios", "spread"]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some values, the lowest and the highest of them."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """
    :return: of *values*.
    :raise ValueError: there are none.
    """
    if not values:
        raise ValueError("no values")
    return Spread(median(values), min(values), max(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """
    Compare what was measured in the same round, because what disturbs a machine for seconds
    disturbs both.

    :return: of the ratios of each round.
    :raise ValueError: the numbers of rounds differ, or there is none.
    """
    return spread([our / their for our, their in zip(ours, theirs, strict=True)])
