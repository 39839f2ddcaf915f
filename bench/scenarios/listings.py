"""
Listings of a directory with a million names.

The directory is made when a scenario first needs it, which takes about half a minute.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from statistics import median
from typing import Final

from bench import load
from bench.scenarios.base import CpuUnit, Measured, Scenario
from bench.systems.base import Listings, System
from bench.target import Failed, Target

__all__ = ["SCENARIOS"]

#: The names in the directory, and their order: the steps are coprime to the number.
NAMES, _STEP = 1_000_000, 7919
_DIRECTORY = "names"
#: Clients that download small files beside the listings.
_DOWNLOADS = 64
_LINES: Final = (("Accept", "application/x-ndjson"),)
_PAGE = f"path=/workspace/{_DIRECTORY}"
_ENTRY, _PAGES = CpuUnit("µs/entry", 1e6), CpuUnit("ms/page", 1e3)


def _listings(system: System) -> Listings:
    """:return: what lists the directory, which is there."""
    assert system.listings is not None
    path = os.path.join(system.listings.directory, _DIRECTORY)
    if not os.path.exists(path):
        os.mkdir(path)
        above = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        for number in range(NAMES):
            os.mknod(f"file-{number * _STEP % NAMES:06d}.txt", 0o644, dir_fd=above)
        os.close(above)
    return system.listings


def _fetch(target: Target) -> tuple[int, bytes]:
    """
    :return: the number of lines of a response, and its last 1000 bytes.
    :raise Failed: it did not arrive whole.
    """
    buffer, lines, last = bytearray(1 << 20), 0, b""
    with closing(HTTPConnection("127.0.0.1", target.port)) as connection:
        connection.request("GET", target.path, headers=dict(target.headers))
        response = connection.getresponse()
        if response.status != 200:
            raise Failed(f"{response.status}: {response.read(1000)!r}")
        while received := response.readinto(buffer):
            lines += buffer.count(b"\n", 0, received)
            last = (last + bytes(buffer[max(0, received - 1000) : received]))[-1000:]
    return lines, last


def _pages(system: System, seconds: float) -> Measured:
    target = _listings(system).target(_PAGE)
    _fetch(target)
    times: list[float] = []
    end = time.monotonic() + seconds
    while not times or time.monotonic() < end:
        began = time.monotonic()
        _fetch(target)
        times.append(1000 * (time.monotonic() - began))
    return Measured(median(times), len(times), {"lowest ms": min(times)})


def _stream(system: System, _: float) -> Measured:
    """Compare the peak of what is resident with what is after one page."""
    listings = _listings(system)
    _fetch(listings.target(_PAGE))
    before = system.memory()
    began = time.monotonic()
    with _peak(system) as peak:
        lines, last = _fetch(listings.target(f"{_PAGE}&depth=infinity").having(*_LINES))
    seconds = time.monotonic() - began
    if lines != NAMES + 1 or not last.endswith(b'"complete":true}\n'):
        raise Failed(f"{lines} lines, the last of which is {last[-100:]!r}")
    added = {f"{name} MiB": (size - before[name]) / (1 << 20) for name, size in peak.items()}
    return Measured(NAMES / seconds, NAMES, added)


@contextmanager
def _peak(system: System) -> Iterator[dict[str, int]]:
    """:return: a context; at its end, the dictionary has the most that each server had resident."""
    peak, ended = dict(system.memory()), threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            now = system.memory()
            peak.update({name: max(size, now[name]) for name, size in peak.items()})

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield peak
    finally:
        ended.set()
        watching.join()


def _beside(system: System, seconds: float) -> Measured:
    """Measure small downloads alone, and while one client lists pages all the time."""
    target, ended = _listings(system).target(_PAGE), threading.Event()

    def list_pages() -> None:
        while not ended.is_set():
            _fetch(target)

    alone = load.run(system.file("1k"), _DOWNLOADS, seconds)
    listing = threading.Thread(target=list_pages)
    listing.start()
    try:
        found = load.run(system.file("1k"), _DOWNLOADS, seconds)
    finally:
        ended.set()
        listing.join()
    more = {"p99 ms": found.p99, "p99 ms alone": alone.p99, "p50 ms": found.p50}
    return Measured(found.p99 - alone.p99, found.requests, {**more, "p50 ms alone": alone.p50})


def _offered(system: System) -> bool:
    return system.listings is not None


SCENARIOS = (
    Scenario(
        "listing",
        "page",
        "the first page of a million names",
        "ms",
        _PAGES,
        _pages,
        _offered,
        lower_is_better=True,
    ),
    Scenario(
        "listing",
        "stream",
        "a million entries as JSON lines",
        "entries/s",
        _ENTRY,
        _stream,
        _offered,
    ),
    Scenario(
        "listing",
        "beside",
        f"how much the p99 of {_DOWNLOADS} clients of 1 KiB grows while pages are listed",
        "ms",
        None,
        _beside,
        _offered,
        needs_wrk=True,
        lower_is_better=True,
    ),
)
