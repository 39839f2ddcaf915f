"""
Transfers that are cancelled at random moments: nothing is left open.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

from chatfiles.testing import ServerConnection
from tests.contract.client_case import ClientCase

__all__ = ["FILE", "MOMENTS", "CancellationCase", "Stop", "endless"]

FILE = "/workspace/f"
#: How many transfers are cancelled.
MOMENTS = 100
ENDLESS = 1 << 40


class Stop(Exception):
    """Raised by a caller's function."""


class CancellationCase(ClientCase):
    """Counts descriptors.  Subclasses begin and cancel transfers."""

    def setUp(self) -> None:
        super().setUp()
        self.random = random.Random(self.id())

    def platform(self, connection: ServerConnection) -> None:
        """Serve requests for ever, and read bodies for ever."""
        while (request := connection.request()) is not None:
            if request.method != "GET":
                connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                connection.hang()
                return
            if "digest" in request.target:
                connection.send(b"HTTP/1.1 202 Wait\r\nContent-Length: 2\r\n\r\n{}")
                continue
            connection.send(b'HTTP/1.1 200 OK\r\nETag: "v"\r\nContent-Length: %d\r\n\r\n' % ENDLESS)
            while True:
                connection.send(bytes(65536))

    def descriptors(self) -> set[str]:
        """:return: the sockets and files of the client that are open."""
        found = set()
        for name in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink(f"/proc/self/fd/{name}")
            except FileNotFoundError:
                continue
            if target.startswith(self.directory):
                found.add(target)
        return found

    def sockets(self) -> int:
        """:return: the connections to the server that are open on this side."""
        port = int(self.server.url.rpartition(":")[2])
        inodes = set()
        with open("/proc/net/tcp") as table:
            for line in list(table)[1:]:
                cells = line.split()
                if int(cells[2].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{cells[9]}]")
        links = []
        for name in os.listdir("/proc/self/fd"):
            try:
                links.append(os.readlink(f"/proc/self/fd/{name}"))
            except FileNotFoundError:
                continue
        return sum(link in inodes for link in links)

    def kinds(self) -> Iterator[str]:
        """:return: `MOMENTS` kinds of transfers."""
        for number in range(MOMENTS):
            yield ("download", "upload", "stream", "digest")[number % 4]

    def check(self) -> None:
        """Only what an interrupted download leaves is there, and nothing is open."""
        self.assertEqual(self.descriptors(), set())
        self.assertEqual(self.sockets(), 0)
        self.assertLessEqual(set(self.files()), {"x.part", "source"})


def endless() -> Iterator[bytes]:
    """:return: pieces for ever."""
    while True:
        yield bytes(65536)
