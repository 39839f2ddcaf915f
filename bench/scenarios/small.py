"""
Small files on sixteen connections.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench import load
from bench.files import MANY
from bench.scenarios.base import REQUEST, Measured, Scenario
from bench.systems.base import System
from bench.target import Target

__all__ = ["SCENARIOS"]

_CONNECTIONS = 16
#: What Chrome sends with a link, shortened.
_BROWSER = (
    ("sec-ch-ua", '"Chromium";v="140", "Not=A?Brand";v="24", "Google Chrome";v="140"'),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", '"Linux"'),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Dest", "document"),
    ("Referer", "https://chat.example.com/workspaces/7"),
    ("Accept-Language", "en-GB,en;q=0.9"),
)


def _plain(name: str, system: System) -> Target:
    return system.file(name)


def _browser(system: System) -> Target:
    return system.file("1k").having(*_BROWSER)


def _closing(system: System) -> Target:
    return system.file("1k").having(("Connection", "close"))


def _tls(system: System) -> Target:
    assert system.tls_file is not None
    return system.tls_file("1k")


def _measure(target: Target, seconds: float, files: int) -> Measured:
    found = load.run(target, _CONNECTIONS, seconds, files)
    return Measured(found.rate, found.requests, {"p50 ms": found.p50, "p99 ms": found.p99})


def _has_tls(system: System) -> bool:
    return system.tls_file is not None


def _scenario(
    name: str,
    title: str,
    target: Callable[[System], Target],
    *,
    files: int = 0,
    applies: Callable[[System], bool] = bool,
) -> Scenario:
    def measure(system: System, seconds: float) -> Measured:
        return _measure(target(system), seconds, files)

    return Scenario(
        "small", name, title, "requests/s", REQUEST, measure, applies=applies, needs_wrk=True
    )


SCENARIOS = (
    _scenario("1k", "1 KiB", partial(_plain, "1k")),
    _scenario("64k", "64 KiB", partial(_plain, "64k")),
    _scenario("many", f"{MANY} different files of 1 KiB", partial(_plain, "many/{}"), files=MANY),
    _scenario("browser", "1 KiB, headers of a browser", _browser),
    _scenario("close", "1 KiB, Connection: close", _closing),
    _scenario("tls", "1 KiB over TLS", _tls, applies=_has_tls),
)
