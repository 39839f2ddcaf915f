"""
How fast files go up through both roles, beside nginx forwarding to nginx's WebDAV, in one run.

    python -m bench.uploads [--seconds 5] [--nginx /usr/sbin/nginx] [--directory /dev/shm]

Only the ratios mean anything: both systems are measured in turns on the same machine, with the same
client, over loopback, into the same file system.  They do not do the same: ours takes a form apart,
hashes it, brings it to the disk (``fsync``) and answers when all of it is there; nginx stores what
it gets and leaves the rest to the kernel.  Where that is a disk, this is what is measured; in a
directory in memory it is the programs.

Reports bytes per second for one and for four streams of a large file, and files per second for
small ones, one by one on one and on eight kept-alive connections; with the CPU time that each of
our roles took.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from unittest import mock

from bench.beside import at_once, content_length, cpu_seconds, report, start_nginx
from tests.live.processes import Pair

LARGE = 1 << 30
SMALL = 4096
PIECE = 1 << 20
#: As long as those of curl and of browsers.
BOUNDARY = "-" * 24 + "d74496d66958873e"

#: One upload: the head of the request, the beginning and the end of its body.
Wrap = Callable[[int], tuple[bytes, bytes, bytes]]


class Target:
    """
    Where files go.

    :param port: whom to ask.
    :param wrap: makes what stands around a file of some size.
    :param directory: where the files are then.
    """

    def __init__(self, port: int, wrap: Wrap, directory: str) -> None:
        self.port, self.wrap, self.directory = port, wrap, directory

    def clear(self) -> None:
        """Make room."""
        for name in os.listdir(self.directory) if os.path.isdir(self.directory) else ():
            os.unlink(os.path.join(self.directory, name))


class Sender:
    """A kept-alive connection that sends a file of one size again and again."""

    def __init__(self, target: Target, size: int) -> None:
        self._target, self._size = target, size
        self._piece = memoryview(os.urandom(min(size, PIECE)))
        self._socket = socket.create_connection(("127.0.0.1", target.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self) -> None:
        """Send one file, and wait until it is stored."""
        head, begin, end = self._target.wrap(self._size)
        if self._size <= PIECE:
            self._socket.sendall(b"".join([head, begin, self._piece, end]))
        else:
            self._socket.sendall(head + begin)
            for _ in range(self._size // PIECE):
                self._socket.sendall(self._piece)
            self._socket.sendall(end)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._socket.recv(65536)
        if not answer.startswith(b"HTTP/1.1 20"):
            raise RuntimeError(answer.decode())
        fields, _, body = answer.partition(b"\r\n\r\n")
        length = content_length(fields)
        while len(body) < length:
            body += self._socket.recv(65536)


def measure(target: Target, size: int, connections: int, seconds: float) -> float:
    """:return: files per second."""
    target.clear()
    end = time.monotonic() + seconds

    def send() -> int:
        sender, files = Sender(target, size), 0
        while not files or time.monotonic() < end:
            sender.send()
            files += 1
        return files

    totals, took = at_once(connections, send)
    target.clear()
    return sum(totals) / took


def our_wrap(pair: Pair) -> Wrap:
    """:return: what stands around a file in a form."""
    begin = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="f.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode("ascii")
    end = f"\r\n--{BOUNDARY}--\r\n".encode("ascii")

    def wrap(size: int) -> tuple[bytes, bytes, bytes]:
        head = (
            f"POST /workspaces/{pair.id}/chat/uploads HTTP/1.1\r\nHost: bench\r\n"
            f"Authorization: Bearer {pair.token}\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
            f"Content-Length: {len(begin) + size + len(end)}\r\n\r\n"
        )
        return head.encode("ascii"), begin, end

    return wrap


def their_wrap(numbers: Iterator[int]) -> Wrap:
    """:return: what stands around a file for WebDAV."""

    def wrap(size: int) -> tuple[bytes, bytes, bytes]:
        head = f"PUT /dav/file-{next(numbers)} HTTP/1.1\r\nHost: bench\r\nContent-Length: {size}"
        return f"{head}\r\n\r\n".encode("ascii"), b"", b""

    return wrap


def per_second(size: int) -> Callable[[float], str]:
    """:return: how a rate of files of that size is shown."""
    if size == LARGE:
        return lambda rate: f"{rate * size / 1e9:.2f} GB/s"
    return lambda rate: f"{rate:.0f}/s"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each measurement")
    parser.add_argument("--nginx", default=shutil.which("nginx"), help="its binary")
    parser.add_argument("--directory", default=tempfile.gettempdir(), help="where files go")
    given = parser.parse_args()
    with ExitStack() as stack:
        base = tempfile.mkdtemp(dir=given.directory)
        stack.callback(shutil.rmtree, base)
        with mock.patch.object(tempfile, "tempdir", base):
            limit = LARGE + PIECE
            pair = Pair(both=[f"--max-file-bytes={limit}", f"--max-request-bytes={limit}"])
        stack.callback(pair.discard)
        pids = [role.pid for role in pair.roles]
        ours = Target(
            pair.platform.port, our_wrap(pair), pair.at("workspace", ".molecule", "chat-uploads")
        )
        theirs = None
        if given.nginx:
            stored = os.path.join(base, "dav")
            os.mkdir(stored)
            prefix = os.path.join(base, ".nginx")
            os.mkdir(prefix)
            port = start_nginx(
                given.nginx,
                prefix,
                base,
                stack,
                serves="dav_methods PUT;",
                forwards="proxy_request_buffering off;",
            )
            theirs = Target(port, their_wrap(count()), stored)
        else:
            print("no nginx here: our own figures only", file=sys.stderr)

        for size, connections in ((LARGE, 1), (LARGE, 4), (SMALL, 1), (SMALL, 8)):
            name = "large" if size == LARGE else "small"
            before = [cpu_seconds(pid) for pid in pids]
            began = time.monotonic()
            rate = measure(ours, size, connections, given.seconds)
            files = rate * (time.monotonic() - began)
            spent = [cpu_seconds(pid) - was for pid, was in zip(pids, before, strict=True)]
            other = measure(theirs, size, connections, given.seconds) if theirs else None
            report(f"{name}, {connections} connections", rate, other, per_second(size))
            each = [
                f"{used / files:.2f} s" if size == LARGE else f"{1e6 * used / files:.0f} µs"
                for used in spent
            ]
            print(f"{'  CPU for each':<28} platform {each[0]}, workspace {each[1]}")


if __name__ == "__main__":
    main()
