"""
What metrics and the audit log cost a small request.  The access line is always on.
"""

from __future__ import annotations

from dataclasses import replace

from bench.scenarios import small
from bench.scenarios.base import Scenario

__all__ = ["SCENARIOS"]

_WANTED = ("1k",)
#: The lines are not kept: what a disk costs is not the roles' time.
_OPTIONS = "--metrics-listen=tcp:0:interface=127.0.0.1 --audit-log=/dev/null"

SCENARIOS: tuple[Scenario, ...] = tuple(
    replace(
        scenario,
        group="telemetry",
        variant=_OPTIONS,
        title=f"{scenario.title}, with metrics and audit log",
    )
    for scenario in small.SCENARIOS
    if scenario.name in _WANTED
)
