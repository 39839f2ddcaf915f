"""
A client leaves while its file is being read: a thread never reads from another file.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.python.threadable import isInIOThread
from twisted.trial.unittest import TestCase

from chatfiles.runtime.threads import Threads
from chatfiles.streams import file_sender
from chatfiles.streams.in_flight import in_flight_limit, relayed_tail
from chatfiles.workspace.files import cached_directory
from chatfiles.workspace.files import store as store_module
from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.store import FileStore
from chatfiles.workspace.inbound_secrets import InboundSecrets
from chatfiles.workspace.routes import read as read_module
from chatfiles.workspace.routes.context import WorkspaceContext
from chatfiles.workspace.routes.ingest import IngestContext
from chatfiles.workspace.routes.route_table import workspace_tree
from chatfiles.workspace.uploads.ingestion import IngestLimits
from chatfiles.workspace.uploads.upload_directory import UploadDirectory
from tests.contract.file_store import build, scratch
from tests.support.loopback import Loopback, reset_on_close, until
from tests.support.memory_client import parse

REQUEST = (
    b"GET /internal/file/read?path=/workspace/large HTTP/1.1\r\n"
    b"Host: x\r\nAuthorization: Bearer abc\r\n\r\n"
)
#: Descriptors that are opened at once, so that one of them gets the number that was closed.
MANY = 30


class _SlowDisk:
    """
    A disk that blocks the first read in a thread, and records which files are read after that.

    :param path: the file whose first read is blocked.
    :ivar number: the descriptor that the thread reads from.
    :ivar inodes: of the files that this number referred to at each use by a thread.
    """

    def __init__(self, case: TestCase, path: bytes) -> None:
        self.inode = os.stat(path).st_ino
        self.number = -1
        self.inodes: set[int] = set()
        self.begun = threading.Event()
        self.go = threading.Event()
        case.addCleanup(self.go.set)
        self._fstat = os.fstat
        for name in ("preadv", "pread", "fstat"):
            case.patch(os, name, self._spied(name, getattr(os, name)))

    def _spied(self, name: str, function: Any) -> Any:
        def call(fd: int, *arguments: Any) -> Any:
            may_wait = name == "pread" or (name == "preadv" and os.RWF_NOWAIT not in arguments)
            if isInIOThread():
                if name == "preadv" and not may_wait and self._fstat(fd).st_ino == self.inode:
                    raise BlockingIOError  # nothing of the file is in memory
                return function(fd, *arguments)
            if may_wait and self.number < 0 and self._fstat(fd).st_ino == self.inode:
                self.number = fd
                self.begun.set()
                self.go.wait()
            if fd == self.number:
                self.inodes.add(self._fstat(fd).st_ino)
            return function(fd, *arguments)

        return call


class DescriptorTests(TestCase):
    """A client that leaves while a thread reads its file."""

    def setUp(self) -> None:
        self.top = scratch(self)
        build(
            self.top,
            {b"ws/large": bytes(3 << 20), b"ws/other": b"other", b"configs/secret": b"abc"},
        )
        os.chmod(self.top + b"/configs/secret", 0o600)
        self.clock = Clock()
        self.threads = Threads(reactor, "slow", 3)
        self.threads.start()
        self.addCleanup(self.threads.stop)
        self.addCleanup(self.threads.settled)
        secret = InboundSecrets(self.top + b"/configs/secret")
        store = FileStore({b"/workspace": self.top + b"/ws"}, DenyRules(), [secret.current.path])
        self.addCleanup(store.close)
        uploads = UploadDirectory(lambda: store.open_root(b"/workspace"))
        self.caller = Loopback(
            self,
            reactor,
            workspace_tree(
                WorkspaceContext(store, secret, self.threads, self.clock, 60.0),
                IngestContext(uploads, IngestLimits(1, 1), secret, self.threads),
            ),
            receive_buffer=16 * 1024,
        )

    def open_others(self) -> list[int]:
        """Open another file often enough to get every number that was closed."""
        others = [os.open(self.top + b"/ws/other", os.O_RDONLY) for _ in range(MANY)]
        for fd in others:
            self.addCleanup(os.close, fd)
        return others

    async def leave_while_reading(self) -> None:
        disk = _SlowDisk(self, self.top + b"/ws/large")
        await self.caller.send(REQUEST)
        await until(reactor, disk.begun.is_set)
        reset_on_close(self.caller.socket)
        self.caller.socket.close()
        await until(reactor, lambda: not self.caller.site.channels)
        for _ in range(3):  # a close in a thread was queued before these
            await self.threads.run(int)
        others = self.open_others()
        disk.go.set()
        await self.threads.settled()
        self.assertEqual(disk.inodes, {disk.inode})
        self.assertNotIn(disk.number, others)
        self.assertRaises(OSError, os.fstat, disk.number)  # it is closed in the end
        self.assertEqual(self.caller.site.running, 0)

    async def test_warming(self) -> None:
        """
        A thread that brings a file into memory keeps its descriptor, so that the number cannot mean
        another file.
        """
        await self.leave_while_reading()

    async def test_warming_behind_a_buffer(self) -> None:
        """The same holds if responses are buffered, as with TLS."""
        self.patch(file_sender, "is_plain", lambda transport: False)
        await self.leave_while_reading()

    async def test_tail(self) -> None:
        """
        A platform may relay with ``splice``, so more of the file is copied than for another client.
        """
        tails: list[int] = []
        real = file_sender.file_sender

        def spied(*arguments: Any) -> Any:
            tails.append(arguments[-1])
            return real(*arguments)

        self.patch(read_module, "file_sender", spied)
        for request in (REQUEST, REQUEST.replace(b"Host", b"Via: 1.1 chatfiles\r\nHost")):
            self.caller.data = b""
            await self.caller.send(request)
            await self.caller.read(lambda got: [a.complete for a in parse(got)] == [True])
        self.assertEqual(tails, [in_flight_limit(), relayed_tail(in_flight_limit())])

    async def test_reading(self) -> None:
        """
        A thread that reads a file keeps its descriptor, so that no part of another file can be
        sent.
        """
        self.patch(store_module, "is_on_disk", lambda fd: False)
        self.patch(cached_directory, "is_local", lambda fd: False)
        await self.leave_while_reading()
