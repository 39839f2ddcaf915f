"""
What was measured, as values and as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.summary import Spread, ratios, spread

__all__ = ["Result", "Sample", "as_json"]


@dataclass(frozen=True, slots=True)
class Sample:
    """
    One measurement of one system.

    :param cpu: CPU time of each server, in the unit of the scenario.
    :param more: other values.
    """

    value: float
    cpu: Mapping[str, float] = field(default_factory=dict)
    more: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """
    All rounds of a scenario.

    :param samples: for each system, one of each round.
    :param ours: the systems that are compared with all others.
    :param skipped: why other systems were not measured.
    """

    key: str
    title: str
    unit: str
    cpu_unit: str
    samples: Mapping[str, Sequence[Sample]]
    ours: Sequence[str]
    lower_is_better: bool = False
    skipped: Mapping[str, str] = field(default_factory=dict)

    def value(self, system: str) -> Spread:
        """:return: what a system reached."""
        return spread([sample.value for sample in self.samples[system]])

    def cpu(self, system: str) -> dict[str, Spread]:
        """:return: the CPU time of each server of a system."""
        return _by_name([sample.cpu for sample in self.samples[system]])

    def together(self, system: str) -> Spread:
        """:return: the CPU time of all servers of a system."""
        return spread([sum(sample.cpu.values()) for sample in self.samples[system]])

    def more(self, system: str) -> dict[str, Spread]:
        """:return: the other values of a system."""
        return _by_name([sample.more for sample in self.samples[system]])

    def pairs(self) -> Iterator[tuple[str, str]]:
        """
        Yield our systems with what each is compared with, which may be one of ours before it.

        What added no memory, or too little to be seen, is not compared: it has no ratio.
        """
        for place, system in enumerate(self.ours):
            for other in self.samples:
                known = system in self.samples and other not in self.ours[place:]
                if known and self.value(other).low > 0:
                    yield system, other

    def ratio(self, system: str, other: str) -> Spread:
        """:return: of the values of each round."""
        ours, theirs = ([s.value for s in self.samples[name]] for name in (system, other))
        return ratios(ours, theirs)

    def cpu_ratio(self, system: str, other: str) -> Spread | None:
        """:return: of the CPU time of all servers in each round; `None` where there is none."""
        ours, theirs = (
            [sum(sample.cpu.values()) for sample in self.samples[name]] for name in (system, other)
        )
        return ratios(ours, theirs) if min(theirs) > 0 else None


def _by_name(samples: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    return {name: spread([sample[name] for sample in samples]) for name in samples[0]}


def as_json(result: Result) -> dict[str, Any]:
    """:return: the samples of a result, and the ratios and medians that they give."""
    return {
        "scenario": result.key,
        "title": result.title,
        "unit": result.unit,
        "cpu unit": result.cpu_unit,
        "lower is better": result.lower_is_better,
        "skipped": dict(result.skipped),
        "systems": {
            system: {
                "value": asdict(result.value(system)),
                "cpu": {name: asdict(each) for name, each in result.cpu(system).items()},
                "more": {name: asdict(each) for name, each in result.more(system).items()},
                "samples": [asdict(sample) for sample in result.samples[system]],
            }
            for system in result.samples
        },
        "ratios": [
            {
                "system": system,
                "other": other,
                **asdict(result.ratio(system, other)),
                "cpu": asdict(cpu) if (cpu := result.cpu_ratio(system, other)) else None,
            }
            for system, other in result.pairs()
        ],
    }
