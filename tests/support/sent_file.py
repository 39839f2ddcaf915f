"""
Files for tests, and a resource that sends them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from chatfiles.http.server.request import Request
from chatfiles.model import FileFacts
from chatfiles.streams.descriptor import Descriptor
from chatfiles.streams.file_sender import file_sender
from chatfiles.streams.file_source import FileSource, NotCached
from tests.support.resources import Endpoint

LONG_AGO = 10**18
_PATTERN = os.urandom(1_000_003)  # no window's size is a multiple of it


def content(size: int) -> bytes:
    return (_PATTERN * (size // len(_PATTERN) + 1))[:size]


class Opened(Descriptor):
    """An open file of *size* bytes, last written long ago."""

    def __init__(
        self, case: TestCase | SynchronousTestCase, size: int, *, local: bool = True
    ) -> None:
        self.local = local
        self.path = case.mktemp()
        self.data = content(size)
        with open(self.path, "wb") as new:
            new.write(self.data)
        os.utime(self.path, ns=(LONG_AGO, LONG_AGO))
        super().__init__(os.open(self.path, os.O_RDONLY))
        case.addCleanup(self.close)
        self.facts = FileFacts.of(os.fstat(self.fd))

    def rewrite(self, at: int = 0, size: int | None = None) -> None:
        """Write other bytes in place."""
        with open(self.path, "r+b") as same:
            same.seek(at)
            same.write(bytes(len(self.data) if size is None else size))


class ColdSource(FileSource):
    """A file of which nothing is in memory until it is warmed."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.warmed: list[tuple[int, int]] = []

    def _read(self, buffer: memoryview, offset: int, end: int) -> int:
        if not any(at <= offset and end <= at + length for at, length in self.warmed):
            raise NotCached
        return os.preadv(self.fd, [buffer], offset)

    def warm(self, offset: int, length: int) -> None:
        self.warmed.append((offset, length))


class Sending(Endpoint):
    """Sends a span of a file."""

    isLeaf = True
    operation = "send"

    def __init__(self, source: FileSource) -> None:
        super().__init__()
        self.source = source
        self.span = (0, 0)
        self.tail = 256 * 1024
        self.run: Callable[..., Deferred[Any]] = lambda f, *a: deferLater(reactor, 0, f, *a)
        self.requests: list[Request] = []
        self.done: Deferred[None] = Deferred()
        self.sent: Callable[[], int] = lambda: 0

    async def render_GET(self, request: Request) -> None:
        self.requests.append(request)
        first, length = self.span
        request.setHeader(b"Content-Length", b"%d" % length)
        request.write(b"")
        sender = file_sender(
            request,
            self.source,
            first,
            length,
            self.run,
            self.tail,
        )
        self.done, self.sent = sender.done, lambda: sender.sent
        request.transfer.begin_body(sender)
        sender.start()
        await sender.done
