"""
Many small requests: runs wrk, and reads what it reports.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass

from bench.target import Failed, Target

__all__ = ["Load", "command", "parse", "run", "wrk_problem"]

_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "wrk.lua")
_ERRORS = ("connect", "read", "write", "status", "timeout")


@dataclass(frozen=True, slots=True)
class Load:
    """
    What wrk measured.

    :param requests: complete responses.
    :param seconds: how long it ran.
    :param p50: median latency in milliseconds.
    :param p99: 99th percentile of the latency in milliseconds.
    """

    requests: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Responses per second."""
        return self.requests / self.seconds


def wrk_problem() -> str | None:
    """:return: why small requests cannot be measured, or `None`."""
    if shutil.which("wrk"):
        return None
    return (
        "wrk is not installed: small requests need it (Debian, Ubuntu, Homebrew: a package of this"
        " name; source: https://github.com/wg/wrk)"
    )


def command(target: Target, connections: int, seconds: float, files: int = 0) -> list[str]:
    """
    :param files: if not zero, ``{}`` in the path of *target* is replaced by 0000 to *files* - 1 in
        turn.
    :return: the arguments of wrk, which measures whole seconds.
    """
    headers = [part for name, value in target.headers for part in ("-H", f"{name}: {value}")]
    duration = f"-d{max(1, round(seconds))}s"
    more = ["--", str(files)] if files else []
    options = ["-t1", f"-c{connections}", duration, "--timeout=10s", *headers]
    return ["wrk", *options, "-s", _SCRIPT, target.url, *more]


def parse(output: str) -> Load:
    """
    :param output: what wrk printed; ``wrk.lua`` ends it with a line of JSON.
    :raise Failed: there is no such line, or requests failed.
    """
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise Failed(f"wrk reported nothing:\n{output}")
    found = json.loads(lines[-1])
    failed = {name: found[name] for name in _ERRORS if found[name]}
    if failed or not found["requests"]:
        raise Failed(f"of {found['requests']} requests failed: {failed}")
    return Load(
        found["requests"], found["microseconds"] / 1e6, found["p50"] / 1e3, found["p99"] / 1e3
    )


def run(
    target: Target, connections: int, seconds: float, files: int = 0, pause: int | None = None
) -> Load:
    """
    Run wrk with one thread.

    :param pause: milliseconds, on average, that a connection waits before its next request;
        ``None`` for none.
    :raise Failed: wrk or a request failed.
    """
    paced = {} if pause is None else {"WRK_PAUSE": str(pause)}
    done = subprocess.run(
        command(target, connections, seconds, files),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **paced},
    )
    if done.returncode:
        raise Failed(f"wrk ended with {done.returncode}: {done.stderr or done.stdout}")
    return parse(done.stdout)
