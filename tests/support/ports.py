"""
Ports for servers that have to know their port before they listen, or listen on it again.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

__all__ = ["free_port"]

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_reserved: list[socket.socket] = []


def free_port() -> int:
    """
    :return: a port of 127.0.0.1 that stays free until its server listens.  The kernel gives it to
        no connection and to no server that asks for any port, and other test processes do not
        choose it.
    """
    lowest, highest = map(int, _RANGE.read_text().split())
    chosen = [port for port in range(10_000, 65_536) if not lowest <= port <= highest]
    random.shuffle(chosen)
    return next(filter(_reserve, chosen))


def _reserve(port: int) -> bool:
    """:return: whether *port* now belongs to this process."""
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(f"\0chatfiles-tests-port-{port}")  # until this process ends
        with socket.create_server(("127.0.0.1", port)):
            pass
    except OSError:
        lock.close()
        return False
    _reserved.append(lock)
    return True
