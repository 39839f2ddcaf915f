"""
Measures several systems in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from bench.results import Result, Sample
from bench.scenarios.base import Scenario
from bench.systems.base import System
from bench.target import Failed

__all__ = ["Plan", "Run", "turned"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """
    :param seconds: of one measurement.
    :param rounds: how often each system is measured.
    :param warm_up: seconds before the first round.
    """

    seconds: float
    rounds: int
    warm_up: float


def turned(values: Sequence[T], turn: int) -> list[T]:
    """:return: *values*, beginning with another one at each *turn*."""
    first = turn % len(values) if values else 0
    return [*values[first:], *values[:first]]


class Run:
    """
    All rounds of a scenario.

    :param ours: the names of the systems that are compared with the others.
    """

    def __init__(self, scenario: Scenario, ours: Sequence[str]) -> None:
        self._scenario, self._ours = scenario, ours
        self._samples: dict[str, list[Sample]] = {}
        self._skipped: dict[str, str] = {}

    def warm_up(self, systems: Sequence[System], seconds: float) -> None:
        """Use every system once, and keep nothing."""
        self.round(systems, seconds)
        self._samples = {name: [] for name in self._samples}

    def round(self, systems: Sequence[System], seconds: float) -> None:
        """Measure every system once; one that fails is skipped from then on."""
        for system in systems:
            if not self._scenario.applies(system):
                self._skipped[system.name] = "does not offer this"
            elif system.name not in self._skipped:
                self._measure(system, seconds)

    def _measure(self, system: System, seconds: float) -> None:
        try:
            sample = _sample(self._scenario, system, seconds)
        except (Failed, OSError) as error:
            self._skipped[system.name] = f"failed: {error}"
            self._samples.pop(system.name, None)
        else:
            self._samples.setdefault(system.name, []).append(sample)

    def result(self) -> Result:
        """:return: what was measured."""
        scenario = self._scenario
        cpu_unit = scenario.cpu.name if scenario.cpu else ""
        return Result(
            scenario.key,
            scenario.title,
            scenario.unit,
            cpu_unit,
            self._samples,
            self._ours,
            scenario.lower_is_better,
            self._skipped,
        )


def _sample(scenario: Scenario, system: System, seconds: float) -> Sample:
    before = system.cpu_seconds()
    found = scenario.measure(system, seconds)
    after = system.cpu_seconds()
    if scenario.cpu is None:
        return Sample(found.value, more=found.more)
    scale = scenario.cpu.factor / found.amount
    cpu = {name: (used - before[name]) * scale for name, used in after.items()}
    return Sample(found.value, cpu, found.more)
