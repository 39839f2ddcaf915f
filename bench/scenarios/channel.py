"""
Workspaces that connect by themselves, beside those to which the platform connects: to the node that
clients ask, and to another one.
"""

from __future__ import annotations

from dataclasses import replace

from bench.scenarios import large, small, uploads
from bench.scenarios.base import Scenario
from bench.systems.chatfiles import CHANNEL, RELAY

__all__ = ["SCENARIOS"]

_WANTED = ("large/one", "small/1k", "uploads/1g")
_OVER_CHANNEL = f"workspace:{CHANNEL}"
_THROUGH_NODE = f"{_OVER_CHANNEL} platform:{RELAY}"


def _variants(name: str, title: str, variant: str) -> tuple[Scenario, ...]:
    return tuple(
        replace(
            scenario,
            group="channel",
            name=f"{name}{scenario.name}",
            variant=variant,
            title=f"{scenario.title}, {title}",
        )
        for scenario in (*large.SCENARIOS, *small.SCENARIOS, *uploads.SCENARIOS)
        if scenario.key in _WANTED
    )


SCENARIOS: tuple[Scenario, ...] = (
    *_variants("", "over a channel", _OVER_CHANNEL),
    *_variants("relay-", "through another node", _THROUGH_NODE),
)
