"""
What a scenario is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.systems.base import System

__all__ = ["GIB", "REQUEST", "CpuUnit", "Measured", "Scenario"]


@dataclass(frozen=True, slots=True)
class CpuUnit:
    """
    How CPU time is reported.

    :param name: such as ``µs/request``.
    :param factor: what seconds are multiplied with.
    """

    name: str
    factor: float


REQUEST = CpuUnit("µs/request", 1e6)
GIB = CpuUnit("s/GiB", 1.0)


@dataclass(frozen=True, slots=True)
class Measured:
    """
    One measurement.

    :param value: in the unit of the scenario.
    :param amount: how many requests or GiB it took; the CPU time is divided by it.
    :param more: other values, by a name with its unit.
    """

    value: float
    amount: float
    more: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scenario:
    """
    :param group: what ``--only`` may name besides *name*.
    :param unit: of the value.
    :param cpu: how the CPU time is reported, or `None` where it says nothing.
    :param measure: measures a system for about so many seconds.
    :param applies: whether a system can be measured.
    :param needs_wrk: whether *measure* runs wrk.
    :param lower_is_better: as for times.
    :param fresh: whether every measurement needs systems that have just been started.
    :param variant: options of the roles; chatfiles is measured without and with them, if it knows
        them.
    """

    group: str
    name: str
    title: str
    unit: str
    cpu: CpuUnit | None
    measure: Callable[[System, float], Measured]
    applies: Callable[[System], bool] = lambda _system: True
    needs_wrk: bool = False
    lower_is_better: bool = False
    fresh: bool = False
    variant: str = ""

    @property
    def key(self) -> str:
        """Group and name."""
        return f"{self.group}/{self.name}"
