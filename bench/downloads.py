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
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from tests.live.processes import Pair

LARGE = 1 << 30
SMALL = 4096
TICKS = os.sysconf("SC_CLK_TCK")

Target = tuple[int, str, str]


def free_port() -> int:
    """:return: a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


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
        count, head = 0, b""
        while b"\r\n\r\n" not in head:
            head += self._socket.recv(65536)
        fields, _, body = head.partition(b"\r\n\r\n")
        if not fields.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(fields.decode())
        length = next(
            int(line.split(b":")[1])
            for line in fields.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
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
    totals: list[tuple[int, int]] = []

    def read() -> None:
        reader, size, answers = Reader(target), 0, 0
        while time.monotonic() < end:
            size += reader.fetch()
            answers += 1
        totals.append((size, answers))

    began = time.monotonic()
    threads = [threading.Thread(target=read) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    return sum(size for size, _ in totals) / took, sum(n for _, n in totals) / took


def cpu_seconds(pid: int) -> float:
    """:return: the CPU time that a process has taken."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def start_nginx(binary: str, directory: str, stack: ExitStack) -> int:
    """:return: the port of an nginx that forwards to one that serves *directory*."""
    front, back = free_port(), free_port()
    prefix = tempfile.mkdtemp()
    stack.callback(shutil.rmtree, prefix)
    config = os.path.join(prefix, "nginx.conf")
    with open(config, "w", encoding="ascii") as file:
        file.write(
            f"""
user root; daemon off; worker_processes 2; pid {prefix}/pid; error_log {prefix}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; sendfile on; keepalive_requests 1000000;
  client_body_temp_path {prefix}/b; proxy_temp_path {prefix}/p; fastcgi_temp_path {prefix}/f;
  uwsgi_temp_path {prefix}/u; scgi_temp_path {prefix}/s;
  upstream back {{ server 127.0.0.1:{back}; keepalive 32; }}
  server {{ listen 127.0.0.1:{back}; root {directory}; }}
  server {{ listen 127.0.0.1:{front}; location / {{
    proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
}}"""
        )
    process = subprocess.Popen([binary, "-p", prefix, "-c", config])
    stack.callback(process.wait)
    stack.callback(process.terminate)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", front)).close()
            break
        except OSError:
            time.sleep(0.05)
    return front


def report(name: str, ours: float, theirs: float | None, scale: Callable[[float], str]) -> None:
    """Print one line."""
    ratio = f"   nginx {scale(theirs):>12}   ratio {ours / theirs:.2f}" if theirs else ""
    print(f"{name:<28} ours {scale(ours):>12}{ratio}")


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
        nginx = start_nginx(given.nginx, root, stack) if given.nginx else None
        if nginx is None:
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
