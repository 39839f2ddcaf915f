"""
Clients for large downloads, and for readers that stop reading.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

from bench.target import Failed, Target

__all__ = ["Reader", "at_once", "connect", "downloads", "read_headers", "stalled"]

_BUFFER = 1 << 20
#: Bytes of the receive buffer of a stalled reader.
_STALLED_BUFFER = 65536

T = TypeVar("T")


def at_once(count: int, work: Callable[[], T]) -> tuple[list[T], float]:
    """
    :return: what *work* returned in each of *count* threads, and the seconds until the last did.
    :raise Exception: what it raised in one of them.
    """
    with ThreadPoolExecutor(count) as pool:
        began = time.monotonic()
        running = [pool.submit(work) for _ in range(count)]
        results = [each.result() for each in running]
        return results, time.monotonic() - began


def connect(port: int, receive_buffer: int = 0) -> socket.socket:
    """
    :param receive_buffer: its size in bytes, if not what the system chooses.
    :return: a connection to 127.0.0.1.
    """
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.connect(("127.0.0.1", port))
    return connection


def read_headers(connection: socket.socket) -> tuple[int, bytes]:
    """
    Receive the headers of a response.

    :return: the length that they announce, and the bytes of the body that came with them.
    :raise Failed: the status is not 200 or 201, or they are incomplete.
    """
    received = b""
    while b"\r\n\r\n" not in received:
        data = connection.recv(65536)
        if not data:
            raise Failed("closed before the end of the headers")
        received += data
    headers, _, body = received.partition(b"\r\n\r\n")
    status, *lines = headers.split(b"\r\n")
    if not status.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
        raise Failed(received.decode("latin-1"))
    fields = (line.split(b":", 1) for line in lines)
    lengths = [int(value) for name, value in fields if name.lower() == b"content-length"]
    return lengths[0] if lengths else 0, body


class Reader:
    """A kept-alive connection that asks for one file again and again."""

    def __init__(self, target: Target, receive_buffer: int = 0) -> None:
        self._connection = connect(target.port, receive_buffer)
        self._request = target.request
        self._buffer = bytearray(_BUFFER)

    def ask(self) -> int:
        """
        Send a request, and receive the headers.

        :return: the bytes of the body that are still to come.
        """
        self._connection.sendall(self._request)
        length, body = read_headers(self._connection)
        self._length = length
        return length - len(body)

    def fetch(self) -> int:
        """
        :return: the bytes of the body, all of which came.
        :raise Failed: they did not.
        """
        missing = self.ask()
        while missing > 0:
            received = self._connection.recv_into(self._buffer)
            if not received:
                raise Failed("closed before the end of the body")
            missing -= received
        return self._length

    def close(self) -> None:
        """End the connection; a thread that waits for it gets an error."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


@contextmanager
def stalled(target: Target, count: int) -> Iterator[None]:
    """Hold so many downloads, whose clients read the headers and then nothing."""
    with ExitStack() as stack:
        for _ in range(count):
            reader = Reader(target, _STALLED_BUFFER)
            stack.callback(reader.close)
            reader.ask()
        yield


@contextmanager
def downloads(target: Target, count: int) -> Iterator[None]:
    """Download the file again and again, on so many connections."""
    readers = [Reader(target) for _ in range(count)]
    threads = [threading.Thread(target=_fetch_all, args=[reader]) for reader in readers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for reader in readers:
            reader.close()
        for thread in threads:
            thread.join()


def _fetch_all(reader: Reader) -> None:
    with suppress(Failed, OSError):  # it was closed
        while True:
            reader.fetch()
