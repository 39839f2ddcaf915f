"""
What the benchmarks share: nginx beside us, crowds of clients, and what is reported.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

__all__ = ["at_once", "content_length", "cpu_seconds", "report", "start_nginx"]

TICKS = os.sysconf("SC_CLK_TCK")

T = TypeVar("T")

#: How an nginx is set up that stands before another one.
_NGINX = """
user root; daemon off; worker_processes 2; pid {prefix}/pid; error_log {prefix}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; sendfile on; keepalive_requests 1000000; client_max_body_size 0;
  client_body_temp_path {prefix}/b; proxy_temp_path {prefix}/p; fastcgi_temp_path {prefix}/f;
  uwsgi_temp_path {prefix}/u; scgi_temp_path {prefix}/s;
  upstream back {{ server 127.0.0.1:{back}; keepalive 32; keepalive_requests 1000000; }}
  server {{ listen 127.0.0.1:{back}; root {directory}; location / {{ {serves} }} }}
  server {{ listen 127.0.0.1:{front}; location / {{
    proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection ""; {forwards} }} }}
}}"""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def start_nginx(
    binary: str,
    prefix: str,
    directory: str,
    stack: ExitStack,
    *,
    serves: str = "",
    forwards: str = "",
) -> int:
    """
    :param prefix: an empty directory, for what it writes.
    :param directory: what it serves.
    :param serves: more for the one that serves.
    :param forwards: more for the one before it.
    :return: the port of an nginx that forwards to another one; it ends with *stack*.
    """
    front = _free_port()
    config = os.path.join(prefix, "nginx.conf")
    with open(config, "w", encoding="ascii") as file:
        file.write(
            _NGINX.format(
                prefix=prefix,
                directory=directory,
                front=front,
                back=_free_port(),
                serves=serves,
                forwards=forwards,
            )
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


def at_once(count: int, work: Callable[[], T]) -> tuple[list[T], float]:
    """
    :return: what *work* gave in each of so many threads, and the seconds that it took in all.
    :raise RuntimeError: one of them failed.
    """
    results: list[T] = []
    threads = [threading.Thread(target=lambda: results.append(work())) for _ in range(count)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(results) != count:
        raise RuntimeError("a client failed")
    return results, time.monotonic() - began


def content_length(head: bytes) -> int:
    """:return: the length that the head of an answer announces."""
    fields = (line.split(b":", 1) for line in head.split(b"\r\n")[1:])
    return next(int(value) for name, value in fields if name.lower() == b"content-length")


def cpu_seconds(pid: int) -> float:
    """:return: the CPU time that a process has taken."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def report(name: str, ours: float, theirs: float | None, scale: Callable[[float], str]) -> None:
    """Print one line."""
    ratio = f"   nginx {scale(theirs):>12}   ratio {ours / theirs:.2f}" if theirs else ""
    print(f"{name:<28} ours {scale(ours):>12}{ratio}")
