"""
Listings of a directory with a million names.

The directory is made when a scenario first needs it, which takes about half a minute.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from itertools import islice
from statistics import mean, median
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
#: Milliseconds that each of them waits before the next request, so that the roles are half idle.
_PAUSE = 100
#: Pages that are followed: the names that chatfiles reads at once are enough for 32.
_FOLLOWED = 64
#: Seconds without a change: more than the two after which chatfiles keeps names.
_SETTLED = 2.1
_NEXT = re.compile(rb'"next":"([^"]+)"')
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


def _change(system: System) -> None:
    """Change the directory, so that no server may use names that it has read before."""
    os.utime(os.path.join(_listings(system).directory, _DIRECTORY))


def _settle(system: System) -> None:
    """Wait until chatfiles takes the directory for one that does not change."""
    _listings(system)
    time.sleep(_SETTLED)


def _timed(target: Target) -> tuple[float, bytes]:
    """:return: the milliseconds of a response, and its last bytes."""
    began = time.monotonic()
    _, last = _fetch(target)
    return 1000 * (time.monotonic() - began), last


def _repeated(once: Callable[[], float], seconds: float) -> Measured:
    times: list[float] = []
    end = time.monotonic() + seconds
    while not times or time.monotonic() < end:
        times.append(once())
    return Measured(median(times), len(times), {"lowest ms": min(times)})


def _pages(system: System, seconds: float) -> Measured:
    target = _listings(system).target(_PAGE)

    def once() -> float:
        _change(system)
        return _timed(target)[0]

    once()
    return _repeated(once, seconds)


def _again(system: System, seconds: float) -> Measured:
    target = _listings(system).target(_PAGE)
    _settle(system)
    _timed(target)
    return _repeated(lambda: _timed(target)[0], seconds)


def _following(system: System) -> Iterator[float]:
    """Yield the milliseconds of each page, from the first one to the last, and so on."""
    query = _PAGE
    while True:
        took, last = _timed(_listings(system).target(query))
        yield took
        found = _NEXT.search(last)
        query = f"{_PAGE}&after={found[1].decode()}" if found else _PAGE


def _paging(system: System, _: float) -> Measured:
    _settle(system)
    times = list(islice(_following(system), _FOLLOWED))
    return Measured(mean(times), len(times), {"median ms": median(times), "highest ms": max(times)})


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
    """Measure small downloads alone, and while a client takes one page after the other."""
    _settle(system)
    return _added_p99(system, seconds, _following(system))


def _beside_changes(system: System, seconds: float) -> Measured:
    """As `_beside`, while the directory changes all the time, so that each page reads all names."""

    def pages() -> Iterator[float]:
        for took in _following(system):
            _change(system)
            yield took

    _change(system)
    return _added_p99(system, seconds, pages())


def _first(system: System, *, changed: bool) -> Iterator[None]:
    """Ask for the first page whenever the next one is wanted."""
    target = _listings(system).target(_PAGE)
    while True:
        if changed:
            _change(system)
        _fetch(target)
        yield


def _paced(system: System, seconds: float) -> Measured:
    """
    Measure the delay of clients that leave the roles half idle.  They do not compete with the
    listing for the processor, as those of `_beside` do.
    """
    _settle(system)
    return _added_p99(system, seconds, _first(system, changed=False), _PAUSE)


def _paced_changes(system: System, seconds: float) -> Measured:
    """As `_paced`, while the directory changes before each page."""
    return _added_p99(system, seconds, _first(system, changed=True), _PAUSE)


def _added_p99(
    system: System, seconds: float, pages: Iterator[object], pause: int | None = None
) -> Measured:
    ended, count = threading.Event(), 0

    def list_pages() -> None:
        nonlocal count
        while not ended.is_set():
            next(pages)
            count += 1

    def small() -> load.Load:
        return load.run(system.file("1k"), _DOWNLOADS, seconds, pause=pause)

    alone = small()
    listing = threading.Thread(target=list_pages)
    listing.start()
    try:
        found = small()
    finally:
        ended.set()
        listing.join()
    more = {"p99 ms": found.p99, "p99 ms alone": alone.p99, "p50 ms": found.p50}
    more |= {"p50 ms alone": alone.p50, "pages": count, "requests/s": found.rate}
    return Measured(found.p99 - alone.p99, found.requests, more)


def _offered(system: System) -> bool:
    return system.listings is not None


SCENARIOS = (
    Scenario(
        "listing",
        "page",
        "the first page of a million names that have just changed",
        "ms",
        _PAGES,
        _pages,
        _offered,
        lower_is_better=True,
    ),
    Scenario(
        "listing",
        "again",
        "the first page again",
        "ms",
        _PAGES,
        _again,
        _offered,
        lower_is_better=True,
    ),
    Scenario(
        "listing",
        "paging",
        f"the mean of the first {_FOLLOWED} pages",
        "ms",
        _PAGES,
        _paging,
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
        f"how much the p99 of {_DOWNLOADS} clients of 1 KiB grows while a client takes all pages",
        "ms",
        None,
        _beside,
        _offered,
        needs_wrk=True,
        lower_is_better=True,
    ),
    Scenario(
        "listing",
        "beside-changes",
        "the same while the directory changes",
        "ms",
        None,
        _beside_changes,
        _offered,
        needs_wrk=True,
        lower_is_better=True,
    ),
    Scenario(
        "listing",
        "paced",
        f"the same for {_DOWNLOADS} clients with {_PAUSE} ms between two requests, and first pages",
        "ms",
        None,
        _paced,
        _offered,
        needs_wrk=True,
        lower_is_better=True,
    ),
    Scenario(
        "listing",
        "paced-changes",
        "the same while the directory changes before each page",
        "ms",
        None,
        _paced_changes,
        _offered,
        needs_wrk=True,
        lower_is_better=True,
    ),
)
