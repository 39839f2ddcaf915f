"""
Uploads: forms and resumable uploads through both roles, ``PUT`` through nginx.

They do not do the same: chatfiles reads a form, hashes the file, brings it to the disk (``fsync``)
and then responds; nginx stores what it receives and leaves the rest to the kernel.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing

from bench.clients import at_once
from bench.scenarios.base import GIB, REQUEST, CpuUnit, Measured, Scenario
from bench.sender import Sender, Upload
from bench.systems.base import System, Uploads

__all__ = ["SCENARIOS"]

_GIB = 1 << 30


def _clear(directory: str) -> None:
    if os.path.isdir(directory):
        for name in os.listdir(directory):
            os.unlink(os.path.join(directory, name))


def _send(
    uploads: Uploads,
    wrap: Callable[[int], Upload],
    size: int,
    connections: int,
    seconds: float,
) -> tuple[int, float]:
    """:return: the number of files, and the seconds that they took."""
    end = time.monotonic() + seconds

    def send() -> int:
        files = 0
        with closing(Sender(uploads.port, size)) as sender:
            while not files or time.monotonic() < end:
                sender.send(wrap(size))
                files += 1
        return files

    try:
        counts, took = at_once(connections, send)
    finally:
        _clear(uploads.directory)
    return sum(counts), took


def _scenario(
    name: str,
    title: str,
    size: int,
    connections: int,
    cpu: CpuUnit,
    way: Callable[[Uploads], Callable[[int], Upload] | None] = lambda uploads: uploads.wrap,
) -> Scenario:
    def measure(system: System, seconds: float) -> Measured:
        assert system.uploads is not None
        wrap = way(system.uploads)
        assert wrap is not None
        files, took = _send(system.uploads, wrap, size, connections, seconds)
        amount = files * size / _GIB if cpu is GIB else files
        return Measured(amount / took, amount)

    def applies(system: System) -> bool:
        return system.uploads is not None and way(system.uploads) is not None

    unit = "GiB/s" if cpu is GIB else "files/s"
    return Scenario("uploads", name, title, unit, cpu, measure, applies)


SCENARIOS = (
    _scenario("1g", "one upload of 1 GiB", _GIB, 1, GIB),
    _scenario(
        "tus", "one resumable upload of 1 GiB", _GIB, 1, GIB, lambda uploads: uploads.resumable
    ),
    _scenario("four", "four uploads of 256 MiB", _GIB >> 2, 4, GIB),
    _scenario("4k", "4 KiB on eight connections", 4096, 8, REQUEST),
)
