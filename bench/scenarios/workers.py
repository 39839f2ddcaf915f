"""
Several processes of each role.
"""

from __future__ import annotations

from dataclasses import replace

from bench.scenarios import small
from bench.scenarios.base import Scenario

__all__ = ["SCENARIOS"]

_WANTED = ("1k", "close")

SCENARIOS: tuple[Scenario, ...] = tuple(
    replace(
        scenario, group="workers", variant="--workers=2", title=f"{scenario.title}, two workers"
    )
    for scenario in small.SCENARIOS
    if scenario.name in _WANTED
)
