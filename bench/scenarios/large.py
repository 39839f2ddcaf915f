"""
Large files.
"""

from __future__ import annotations

import time
from contextlib import closing

from bench.clients import Reader, at_once
from bench.scenarios.base import GIB, Measured, Scenario
from bench.systems.base import System
from bench.target import Target

__all__ = ["SCENARIOS"]


def _measure(target: Target, connections: int, seconds: float) -> Measured:
    end = time.monotonic() + seconds

    def read() -> int:
        size = 0
        with closing(Reader(target)) as reader:
            while not size or time.monotonic() < end:
                size += reader.fetch()
        return size

    sizes, took = at_once(connections, read)
    amount = sum(sizes) / (1 << 30)
    return Measured(amount / took, amount)


def _scenario(name: str, title: str, file: str, connections: int) -> Scenario:
    def measure(system: System, seconds: float) -> Measured:
        return _measure(system.file(file), connections, seconds)

    return Scenario("large", name, title, "GiB/s", GIB, measure)


SCENARIOS = (
    _scenario("one", "one download of 1 GiB", "1g", 1),
    _scenario("eight", "eight downloads of 256 MiB", "256m", 8),
)
