"""
Measures several systems in turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.results import Result, Sample
from bench.scenarios.base import Scenario
from bench.systems.base import System

__all__ = ["Plan", "order", "run"]


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


def order(systems: Sequence[System], rounds: int) -> Iterator[Sequence[System]]:
    """Yield the systems of each round; every round begins with another one."""
    for turn in range(rounds):
        first = turn % len(systems) if systems else 0
        yield [*systems[first:], *systems[:first]]


def run(scenario: Scenario, systems: Sequence[System], plan: Plan) -> Result:
    """
    Measure every system once in each round.

    :raise Exception: what the scenario raised.
    """
    able = [system for system in systems if scenario.applies(system)]
    samples: dict[str, list[Sample]] = {system.name: [] for system in able}
    for system in able:
        scenario.measure(system, plan.warm_up)
    for turn in order(able, plan.rounds):
        for system in turn:
            samples[system.name].append(_sample(scenario, system, plan.seconds))
    skipped = {s.name: "does not offer this" for s in systems if s not in able}
    cpu_unit = scenario.cpu.name if scenario.cpu else ""
    return Result(scenario.key, scenario.title, scenario.unit, cpu_unit, samples, skipped)


def _sample(scenario: Scenario, system: System, seconds: float) -> Sample:
    before = system.cpu_seconds()
    found = scenario.measure(system, seconds)
    after = system.cpu_seconds()
    if scenario.cpu is None:
        return Sample(found.value, more=found.more)
    scale = scenario.cpu.factor / found.amount
    cpu = {name: (used - before[name]) * scale for name, used in after.items()}
    return Sample(found.value, cpu, found.more)
