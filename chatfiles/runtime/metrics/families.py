"""
The families of metrics, and where their numbers are in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from itertools import product
from typing import Final

__all__ = ["SECONDS", "SHORT_SECONDS", "Combine", "Family", "Kind", "Labels", "Layout", "children"]

Labels = tuple[str, ...]

#: The upper bounds of histograms: of transfers, and of what is short.
SECONDS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0, 3600.0)
SHORT_SECONDS: Final = SECONDS[:7]


class Kind(StrEnum):
    """The type of a family."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Combine(Enum):
    """How the gauges of several processes become one number."""

    SUM = auto()
    LEAST = auto()


def children(*values: Iterable[str]) -> tuple[Labels, ...]:
    """:return: all combinations of the values of several labels."""
    return tuple(product(*values))


@dataclass(frozen=True, slots=True)
class Family:
    """
    One family.

    :param name: as Prometheus shows it.
    :param help: one sentence.
    :param labels: the names of its labels.
    :param children: the values of its labels.  No others are ever counted: they must not depend on
        what a client sends.
    :param buckets: upper bounds in seconds, of a histogram.
    :param most_rare: how many children are shown at most, of those in *rare*.
    :param rare: more children, each of which is shown when it was counted.
    """

    name: str
    kind: Kind
    help: str
    labels: Sequence[str] = ()
    children: Sequence[Labels] = ((),)
    buckets: Sequence[float] = ()
    combine: Combine = Combine.SUM
    rare: Sequence[Labels] = ()
    most_rare: int = 0

    @property
    def width(self) -> int:
        """
        The numbers of each child.  A histogram has one for each bucket, one for what is above them,
        and the sum.
        """
        return len(self.buckets) + 2 if self.kind is Kind.HISTOGRAM else 1

    @property
    def series(self) -> int:
        """The most series that it has."""
        lines = len(self.buckets) + 3 if self.kind is Kind.HISTOGRAM else 1
        return (len(self.children) + self.most_rare) * lines


class Layout:
    """
    Where the numbers of each child are.  It is the same in all processes of a role.

    :param families: in the order of the page.
    :ivar size: how many numbers there are.
    """

    def __init__(self, families: Iterable[Family]) -> None:
        self.families = tuple(families)
        self.size = 1  # the first one says that the process runs
        self._at: dict[str, dict[Labels, int]] = {}
        for family in self.families:
            at = self._at[family.name] = {}
            for child in (*family.children, *family.rare):
                at[child] = self.size
                self.size += family.width

    def __contains__(self, name: str) -> bool:
        return name in self._at

    def children(self, name: str) -> dict[Labels, int]:
        """:return: the place of the first number of each child of a family."""
        return self._at[name]

    def gauges(self) -> Iterator[int]:
        """:return: the places of all gauges."""
        for family in self.families:
            if family.kind is Kind.GAUGE:
                yield from self._at[family.name].values()
