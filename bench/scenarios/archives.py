"""
Folders as archives.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection

from bench.files import FOLDER, MANY
from bench.scenarios.base import GIB, CpuUnit, Measured, Scenario
from bench.systems.base import System
from bench.target import Failed, Target

__all__ = ["SCENARIOS", "fetch"]

_FILE = CpuUnit("µs/file", 1e6)


def fetch(target: Target) -> int:
    """
    Download an archive, whose length is not known in advance.

    :return: its bytes.
    :raise Failed: it did not arrive whole.
    """
    buffer = bytearray(1 << 20)
    size = 0
    with closing(HTTPConnection("127.0.0.1", target.port)) as connection:
        connection.request("GET", target.path, headers=dict(target.headers))
        response = connection.getresponse()
        if response.status != 200:
            raise Failed(f"{response.status}: {response.read(1000)!r}")
        while received := response.readinto(buffer):
            size += received
    return size


def _scenario(
    name: str, title: str, unit: str, cpu: CpuUnit, folder: str, archive: str, amount: float
) -> Scenario:
    """:param amount: what one archive counts for."""

    def measure(system: System, seconds: float) -> Measured:
        assert system.archive is not None
        target = system.archive(folder, archive)
        assert target is not None
        began, count = time.monotonic(), 0
        while not count or time.monotonic() < began + seconds:
            if fetch(target) < (FOLDER if folder == "folder" else MANY << 10):
                raise Failed("the archive is too short")
            count += 1
        return Measured(count * amount / (time.monotonic() - began), count * amount)

    return Scenario("archive", name, title, unit, cpu, measure, _offers(folder, archive))


def _offers(folder: str, archive: str) -> Callable[[System], bool]:
    return lambda system: system.archive is not None and system.archive(folder, archive) is not None


_GIB = FOLDER / (1 << 30)

SCENARIOS = (
    _scenario("tar", "a folder of 256 MiB as tar", "GiB/s", GIB, "folder", "tar", _GIB),
    _scenario("zip", "the same as zip, stored", "GiB/s", GIB, "folder", "zip", _GIB),
    _scenario("many", "2000 files of 1 KiB as tar", "files/s", _FILE, "many", "tar", MANY),
    _scenario("many-zip", "the same as zip", "files/s", _FILE, "many", "zip", MANY),
)
