"""
Memory for readers that do not read.
"""

from __future__ import annotations

import time
from contextlib import closing

from bench.clients import Reader, stalled
from bench.scenarios.base import Measured, Scenario
from bench.systems.base import System

__all__ = ["SCENARIOS"]

_READERS = 64
#: Seconds between two looks, and seconds that buffers need at least to fill.
_STEP, _SECONDS = 0.1, 3.0


def _measure(system: System, seconds: float) -> Measured:
    """Compare the peak of what is resident with what is after one small and one large download."""
    for name in ("1k", "256m"):
        with closing(Reader(system.file(name))) as reader:
            reader.fetch()
    before = system.memory()
    peak = dict(before)
    with stalled(system.file("1g"), _READERS):
        end = time.monotonic() + max(seconds, _SECONDS)
        while time.monotonic() < end:
            now = system.memory()
            peak = {name: max(size, now[name]) for name, size in peak.items()}
            time.sleep(_STEP)
    added = {name: (size - before[name]) / (1 << 20) for name, size in peak.items()}
    more = {f"{name} MiB": size for name, size in added.items()} if len(added) > 1 else {}
    return Measured(sum(added.values()), 1, more)


SCENARIOS = (
    Scenario(
        "memory",
        "stalled",
        f"resident memory added by {_READERS} stalled readers of 1 GiB",
        "MiB",
        None,
        _measure,
        lower_is_better=True,
        fresh=True,
    ),
)
