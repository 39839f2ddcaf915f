"""
All scenarios, and all systems to compare with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.scenarios import (
    archives,
    channel,
    large,
    latency,
    listings,
    memory,
    small,
    telemetry,
    uploads,
    workers,
)
from bench.scenarios.base import Scenario
from bench.systems.base import Start
from bench.systems.chatfiles import chatfiles
from bench.systems.nginx import nginx, sendfile
from bench.systems.pairs import aiohttp_pair, twisted_pair

__all__ = ["OTHERS", "SCENARIOS", "choose", "variants"]

SCENARIOS: tuple[Scenario, ...] = (
    *small.SCENARIOS,
    *large.SCENARIOS,
    *latency.SCENARIOS,
    *uploads.SCENARIOS,
    *archives.SCENARIOS,
    *memory.SCENARIOS,
    *workers.SCENARIOS,
    *telemetry.SCENARIOS,
    *listings.SCENARIOS,
    *channel.SCENARIOS,
)
#: By the names that ``--systems`` knows.
OTHERS: Mapping[str, Start] = {
    "nginx": nginx(),
    "nginx-2": nginx("nginx-2", workers=2),
    "nginx-spool": nginx("nginx-spool", spool=True),
    "sendfile": sendfile(),
    "aiohttp": aiohttp_pair(),
    "twisted": twisted_pair(),
}


def choose(scenarios: Sequence[Scenario], *choices: Sequence[str]) -> list[Scenario]:
    """
    :param choices: names of groups, names of scenarios, or ``group/name``. A scenario is chosen if
        each list that is not empty names it.
    :return: the chosen scenarios, in their order; at least one.
    :raise ValueError: a word names no scenario, or the lists exclude each other; the argument says
        which.
    """
    for word in (word for words in choices for word in words):
        if not any(word in _names(each) for each in scenarios):
            raise ValueError(word)
    chosen = [
        each
        for each in scenarios
        if all(not words or _names(each) & set(words) for words in choices)
    ]
    if not chosen:
        raise ValueError(" ".join(word for words in choices for word in words))
    return chosen


def _names(scenario: Scenario) -> set[str]:
    return {scenario.group, scenario.name, scenario.key}


def variants(role_options: Sequence[str], against: str | None) -> dict[str, Start]:
    """
    :param role_options: for each variant, the options of the roles.
    :param against: another checkout.
    :return: what starts each variant of chatfiles, by the name that results call it.
    """
    found = {}
    for options in role_options or ("",):
        name = f"chatfiles {options}".strip()
        found[name] = chatfiles(name, options)
    if against:
        found["against"] = chatfiles("against", checkout=against)
    return found
