"""
A site behind a real socket, with its own clock, and a client that reads only when a test says so.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource

from tests.support.memory_client import HEADER_TIMEOUT, IDLE_TIMEOUT, CountingSite, Received, parse
from tests.support.patience import PATIENCE


async def until(reactor: Any, holds: Callable[[], object]) -> None:
    """Let the reactor run until *holds* returns true."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen")
        await deferLater(reactor, 0)


def reset_on_close(end: socket.socket) -> None:
    """Make a later ``close`` of *end* reset its connection."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Loopback:
    """
    A site that listens on the loopback address, and one client of it.

    :param case: the test, which cleans up.
    :param receive_buffer: the approximate number of bytes that the kernel buffers for the client.
    :param tls: the server's certificate and key, if it uses TLS; the client does not start TLS.
    """

    def __init__(
        self,
        case: TestCase,
        reactor: Any,
        root: Resource,
        receive_buffer: int | None = None,
        tls: Any = None,
    ) -> None:
        self.reactor = reactor
        self.clock = Clock()
        self.site = CountingSite(
            root, self.clock, header_timeout=HEADER_TIMEOUT, idle_timeout=IDLE_TIMEOUT
        )
        if tls is None:
            port = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        else:
            port = reactor.listenSSL(0, self.site, tls, interface="127.0.0.1")
        case.addCleanup(port.stopListening)
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", port.getHost().port))
        self.socket.setblocking(False)
        case.addCleanup(self._close)
        self.data = b""
        self.ended = False
        self.reset = False

    async def _gone(self) -> None:
        for channel in self.site.channels:
            channel.abort()
        await until(self.reactor, lambda: not self.site.channels)

    def _close(self) -> Any:
        self.socket.close()
        return Deferred.fromCoroutine(self._gone())

    async def connected(self) -> None:
        """Wait until the site has accepted the connection."""
        await until(self.reactor, lambda: self.site.channels)

    @property
    def transport(self) -> Any:
        """The server's transport."""
        (channel,) = self.site.channels
        return channel.transport

    async def send(self, data: bytes) -> None:
        """Send all of *data*, or as much as the server reads before it closes the connection."""
        view = memoryview(data)

        def push() -> bool:
            nonlocal view
            try:
                view = view[self.socket.send(view) :]
            except BlockingIOError:
                return False
            except ConnectionError:
                self.reset = True
            return self.reset or not view

        await until(self.reactor, push)

    async def flood(self, most: int, data: bytes = bytes(1 << 20)) -> int:
        """
        :param data: the bytes to send repeatedly, not always completely.
        :return: how many bytes were sent before the server and its kernel accepted no more.
        """
        sent = idle = 0
        while sent < most and idle < 100:
            try:
                sent += self.socket.send(data)
                idle = 0
            except BlockingIOError:
                idle += 1
            await deferLater(self.reactor, 0)
        return sent

    def take(self, most: int = 1 << 20) -> int:
        """Read what is available, up to *most* bytes, into `data`; note the end of the stream."""
        try:
            got = self.socket.recv(most)
        except BlockingIOError:
            return 0
        except ConnectionError:
            self.reset = self.ended = True
            return 0
        self.ended = self.ended or not got
        self.data += got
        return len(got)

    async def read(self, enough: Callable[[bytes], object]) -> None:
        """Read until *enough* returns true for `data`, or the stream ends."""
        await until(self.reactor, lambda: self.take() * 0 or self.ended or enough(self.data))

    async def read_to_end(self) -> None:
        """Read until the server closes or resets the connection."""
        await self.read(lambda _: False)

    def answers(self) -> list[Received]:
        return parse(self.data)


def more_than(count: int) -> Callable[[bytes], bool]:
    """:return: a function that says whether data is longer than *count* bytes."""
    return lambda data: len(data) > count
