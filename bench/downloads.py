"""
How fast files come down through both roles, beside nginx forwarding to nginx, in one run.

    python -m bench.downloads [--seconds 5] [--nginx /usr/sbin/nginx]

Only the ratios mean anything: both systems are measured in turns on the same machine, with the same
client, over loopback.  Reports bytes per second for one and for eight streams of a large sparse
file, and answers per second for a small one on eight kept-alive connections; with the CPU time that
each of our roles took for a small answer.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack

from bench.beside import at_once, content_length, cpu_seconds, report, start_nginx
from tests.live.processes import Pair

LARGE = 1 << 30
SMALL = 4096

Target = tuple[int, str, str]


class Reader:
    """A kept-alive connection that asks for one file again and again."""

    def __init__(self, target: Target) -> None:
        port, path, token = target
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        self._buffer = bytearray(1 << 20)

    def fetch(self) -> int:
        """:return: the bytes of the body, all of which came."""
        self._socket.sendall(self._request)
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._socket.recv(65536)
        fields, _, body = head.partition(b"\r\n\r\n")
        if not fields.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(fields.decode())
        length = content_length(fields)
        count = len(body)
        while count < length:
            received = self._socket.recv_into(self._buffer)
            if not received:
                raise RuntimeError("cut")
            count += received
        return count


def measure(target: Target, connections: int, seconds: float) -> tuple[float, float]:
    """:return: bytes and answers per second."""
    end = time.monotonic() + seconds

    def read() -> tuple[int, int]:
        reader, size, answers = Reader(target), 0, 0
        while time.monotonic() < end:
            size += reader.fetch()
            answers += 1
        return size, answers

    totals, took = at_once(connections, read)
    return sum(size for size, _ in totals) / took, sum(n for _, n in totals) / took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each measurement")
    parser.add_argument("--nginx", default=shutil.which("nginx"), help="its binary")
    given = parser.parse_args()
    with ExitStack() as stack:
        pair = Pair()
        pids = [role.pid for role in pair.roles]

        def target(name: str) -> Target:
            path = f"/workspaces/{pair.id}/chat/download?path=/workspace/{name}"
            return pair.platform.port, path, pair.token

        stack.callback(pair.discard)
        root = pair.at("workspace")
        with open(os.path.join(root, "large"), "wb") as file:
            file.truncate(LARGE)
        with open(os.path.join(root, "small"), "wb") as file:
            file.write(os.urandom(SMALL))
        if given.nginx:
            prefix = tempfile.mkdtemp()
            stack.callback(shutil.rmtree, prefix)
            nginx = start_nginx(given.nginx, prefix, root, stack)
        else:
            nginx = None
            print("no nginx here: our own figures only", file=sys.stderr)

        def both(name: str, connections: int, index: int, scale: Callable[[float], str]) -> None:
            ours = measure(target(name), connections, given.seconds)[index]
            theirs = (
                measure((nginx, f"/{name}", ""), connections, given.seconds)[index]
                if nginx
                else None
            )
            report(f"{name}, {connections} connections", ours, theirs, scale)

        measure(target("large"), 1, 1)  # into the page cache
        both("large", 1, 0, lambda value: f"{value / 1e9:.2f} GB/s")
        both("large", 8, 0, lambda value: f"{value / 1e9:.2f} GB/s")
        before = [cpu_seconds(pid) for pid in pids]
        _, rate = measure(target("small"), 1, given.seconds)
        spent = [cpu_seconds(pid) - was for pid, was in zip(pids, before, strict=True)]
        each = [f"{1e6 * used / (rate * given.seconds):.0f} µs" for used in spent]
        print(f"{'CPU for a small answer':<28} platform {each[0]}, workspace {each[1]}")
        both("small", 8, 1, lambda value: f"{value:.0f}/s")


if __name__ == "__main__":
    main()
