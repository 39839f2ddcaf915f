"""
Pairs of small Python servers: a proxy before a file server.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec

from bench.processes import Server, free_port, listens, start
from bench.systems.base import Place, Start, System, Unavailable
from bench.systems.chatfiles import CHECKOUT
from bench.target import Target

__all__ = ["aiohttp_pair", "twisted_pair"]

_REQUIREMENTS = "bench/requirements.txt"


def twisted_pair() -> Start:
    """:return: what starts a proxy and a file server of twisted.web."""
    return partial(_start, "twisted", "twisted_proxy", "twisted_files", ())


def aiohttp_pair() -> Start:
    """:return: what starts aiohttp before uvicorn; unavailable without these two."""
    return partial(_start, "aiohttp", "aiohttp_proxy", "uvicorn_files", ("aiohttp", "uvicorn"))


def _start(
    name: str, proxy: str, server: str, needed: Sequence[str], place: Place, stack: ExitStack
) -> System:
    missing = [package for package in needed if find_spec(package) is None]
    if missing:
        raise Unavailable(f"{' and '.join(missing)} not installed; pip install -r {_REQUIREMENTS}")
    directory = place.directory(name)
    front, back = free_port(), free_port()
    servers = {
        server: _run(server, back, place.files, directory, stack),
        proxy: _run(proxy, front, str(back), directory, stack),
    }
    return System(name, dict(reversed(servers.items())), lambda path: Target(front, f"/{path}"))


def _run(module: str, port: int, argument: str, directory: str, stack: ExitStack) -> Server:
    command = [sys.executable, "-m", f"bench.servers.{module}", str(port), argument]
    environment = {**os.environ, "PYTHONPATH": CHECKOUT}
    log = os.path.join(directory, f"{module}.log")
    return start(command, log, stack, partial(listens, port), environment)
