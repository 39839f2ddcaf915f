"""
How long one client waits for 1 KiB.

The headers and the body arrive in one segment, so the latency that wrk reports is that of the
first byte.
"""

from __future__ import annotations

import time

from bench import load
from bench.clients import downloads, stalled
from bench.scenarios.base import REQUEST, Measured, Scenario
from bench.systems.base import System

__all__ = ["SCENARIOS"]

_STALLED, _DOWNLOADS = 16, 4
#: Seconds in which the buffers of stalled downloads fill.
_SETTLE = 0.5


def _first_byte(system: System, seconds: float) -> Measured:
    found = load.run(system.file("1k"), 1, seconds)
    return Measured(found.p50, found.requests, {"p99 ms": found.p99})


def _mixed(system: System, seconds: float) -> Measured:
    with stalled(system.file("1g"), _STALLED), downloads(system.file("256m"), _DOWNLOADS):
        time.sleep(_SETTLE)
        found = load.run(system.file("1k"), 1, seconds)
    return Measured(found.p99, found.requests, {"p50 ms": found.p50})


SCENARIOS = (
    Scenario(
        "latency",
        "first",
        "first byte of 1 KiB, one request after the other, p50",
        "ms",
        REQUEST,
        _first_byte,
        needs_wrk=True,
        lower_is_better=True,
    ),
    Scenario(
        "latency",
        "mixed",
        f"1 KiB beside {_STALLED} stalled readers and {_DOWNLOADS} large downloads, p99",
        "ms",
        None,
        _mixed,
        needs_wrk=True,
        lower_is_better=True,
    ),
)
