"""
A workspace on file systems that respond at once, late, or never.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs, eventAsText
from twisted.python.threadable import isInIOThread
from twisted.trial.unittest import SkipTest, TestCase

from chatfiles.runtime.options import Options
from chatfiles.runtime.role_service import RoleService
from chatfiles.runtime.settings import WorkspaceSettings
from chatfiles.runtime.threads import Threads
from chatfiles.streams.file_source import FileSource
from chatfiles.streams.stall_timeout import CHECKS, MOST_TIMEOUTS
from chatfiles.workspace import service as service_module
from chatfiles.workspace.files import cached_directory
from chatfiles.workspace.files import store as store_module
from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.store import FileStore
from chatfiles.workspace.inbound_secrets import InboundSecrets
from chatfiles.workspace.routes.context import WorkspaceContext
from chatfiles.workspace.routes.ingest import IngestContext
from chatfiles.workspace.routes.route_table import READY_TIMEOUT, workspace_tree
from chatfiles.workspace.service import workspace_service
from chatfiles.workspace.uploads.ingestion import IngestLimits
from chatfiles.workspace.uploads.upload_directory import UploadDirectory
from tests.contract.file_store import answers_at_once, build, scratch
from tests.support.loopback import Loopback, until
from tests.support.memory_client import Received, parse
from tests.support.patience import PATIENCE

LARGE = os.urandom(3 << 20)
IDLE_TIMEOUT = 60.0


class _Workspace(TestCase):
    def setUp(self) -> None:
        self.top = scratch(self)
        build(
            self.top,
            {
                b"ws/small": b"small",
                b"ws/large": LARGE,
                b"configs/secret": b"abc",
            },
        )
        os.chmod(self.top + b"/configs/secret", 0o600)
        self.clock = Clock()
        self.threads = Threads(reactor, "test", 2)
        self.threads.start()
        self.addCleanup(self.threads.stop)
        secret = InboundSecrets(self.top + b"/configs/secret")
        self.store = FileStore(
            {b"/workspace": self.top + b"/ws"}, DenyRules(), [secret.current.path]
        )
        self.addCleanup(self.store.close)
        uploads = UploadDirectory(lambda: self.store.open_root(b"/workspace"))
        tree = workspace_tree(
            WorkspaceContext(self.store, secret, self.threads, self.clock, IDLE_TIMEOUT),
            IngestContext(uploads, IngestLimits(1, 1), secret, self.threads),
        )
        self.caller = Loopback(self, reactor, tree)

    async def get(self, target: str) -> Received:
        """:return: the response, once it is complete."""
        self.caller.data = b""
        head = f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer abc\r\n\r\n"
        await self.caller.send(head.encode())
        await self.caller.read(lambda got: [a.complete for a in parse(got)] == [True])
        return parse(self.caller.data)[0]

    async def read(self, name: str) -> bytes:
        answer = await self.get(f"/internal/file/read?path=/workspace/{name}")
        self.assertEqual(answer.status, 200)
        return answer.body


class FarTests(_Workspace):
    """Files on a network file system, and on a local disk."""

    async def test_in_threads(self) -> None:
        """
        A file on a network file system is read and closed only in threads, so that a file system
        that hangs does not block other clients.
        """
        self.patch(store_module, "is_on_disk", lambda fd: False)
        self.patch(cached_directory, "is_local", lambda fd: False)
        touched: list[tuple[str, bool]] = []
        files = {os.stat(self.top + b"/ws/" + name).st_ino for name in (b"small", b"large")}
        fstat = os.fstat

        def spied(name: str, function: Any) -> Any:
            def call(*arguments: Any) -> Any:
                fds = [value for value in arguments[:2] if isinstance(value, int)]
                if any(self.is_one(fd, files, fstat) for fd in fds):
                    touched.append((name, isInIOThread()))
                return function(*arguments)

            return call

        for name in ("fstat", "pread", "preadv", "sendfile", "close"):
            self.patch(os, name, spied(name, getattr(os, name)))
        self.assertTrue(await self.read("large") == LARGE)
        self.assertEqual(await self.read("small"), b"small")
        await self.threads.settled()
        self.assertEqual(
            set(touched), {(name, False) for name in ("fstat", "pread", "preadv", "close")}
        )

    async def test_hangs(self) -> None:
        """
        When the disk does not respond, this is logged as ``file_stalled``, not as a client that
        reads nothing.
        """
        self.patch(store_module, "is_on_disk", lambda fd: False)
        self.patch(cached_directory, "is_local", lambda fd: False)
        hangs, go = threading.Event(), threading.Event()
        self.addCleanup(go.set)

        def read(*_: object) -> bytes:
            hangs.set()
            go.wait(PATIENCE)
            return b""

        self.patch(FileSource, "read", read)
        head = "GET /internal/file/read?path=/workspace/large HTTP/1.1\r\nHost: x\r\n"
        with capturedLogs() as logged:
            await self.caller.send(f"{head}Authorization: Bearer abc\r\n\r\n".encode())
            await until(reactor, hangs.is_set)
            for _ in range(MOST_TIMEOUTS * CHECKS):
                self.clock.advance(IDLE_TIMEOUT / CHECKS)
            await until(reactor, lambda: any(" bytes " in eventAsText(e) for e in logged))
        lines = [eventAsText(event) for event in logged]
        self.assertIn("file_stalled", lines[-1])
        go.set()
        await self.threads.settled()

    def is_one(self, fd: int, inodes: set[int], fstat: Any) -> bool:
        try:
            return fstat(fd).st_ino in inodes
        except OSError:
            return False

    async def test_at_once(self) -> None:
        """After the first request, a file on a local disk is served without a thread."""
        if not answers_at_once(self.top):
            raise SkipTest("the temporary directory is on no file system that answers at once")
        self.assertEqual(await self.read("small"), b"small")
        self.patch(self.threads, "run", self.fail)
        self.assertEqual(await self.read("small"), b"small")
        self.assertTrue(await self.read("large") == LARGE)


class ReadyTests(_Workspace):
    """``/ready`` when the disk hangs."""

    async def test_hangs(self) -> None:
        """
        ``/ready`` responds with 503 after `READY_TIMEOUT` while the disk hangs, and with 200 once
        the disk responds again.
        """
        self.assertEqual((await self.get("/ready")).status, 200)
        go = threading.Event()
        self.addCleanup(go.set)
        for _ in range(2):
            self.threads.run(go.wait)
        await self.caller.send(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
        self.caller.data = b""
        await until(reactor, self.clock.getDelayedCalls)
        self.clock.advance(READY_TIMEOUT - 0.01)
        self.assertEqual(self.caller.data, b"")
        self.clock.advance(0.01)
        await self.caller.read(lambda got: [a.complete for a in parse(got)] == [True])
        (answer,) = parse(self.caller.data)
        self.assertEqual((answer.status, answer.json["code"]), (503, "unavailable"))
        go.set()
        self.assertEqual((await self.get("/ready")).status, 200)


class EndTests(TestCase):
    """Stopping a workspace."""

    def make(self, drain_timeout: float) -> tuple[RoleService, Any]:
        """:return: the role, and the threads that it made."""
        made: list[Threads] = []

        def threads(*arguments: Any, **more: Any) -> Threads:
            made.append(Threads(*arguments, **more))
            return made[0]

        self.patch(service_module, "Threads", threads)
        top = os.fsdecode(scratch(self))
        options = Options({})
        options.parseOptions(
            [
                "--role=workspace",
                f"--root=/workspace={top}",
                f"--configs-dir={top}",
                f"--drain-timeout={drain_timeout}",
            ]
        )
        assert isinstance(options.settings, WorkspaceSettings)
        return workspace_service(reactor, options.settings, [], self.fail), made[0]

    async def test_hangs(self) -> None:
        """
        A disk that hangs does not keep the process from ending.  If it responds later, an
        application that embeds the workspace keeps neither its threads nor its files open.
        """
        self.patch(service_module, "RELEASE_TIMEOUT", 0.05)
        closed: list[FileStore] = []
        close = FileStore.close

        def record(store: FileStore) -> None:
            closed.append(store)
            close(store)

        self.patch(FileStore, "close", record)
        role, threads = self.make(0.1)
        role.startService()
        assert role._starting is not None
        await role._starting
        go, hangs = threading.Event(), list[threading.Thread]()
        self.addCleanup(threads.stop)
        self.addCleanup(threads.settled)
        self.addCleanup(go.set)

        def hang() -> None:
            hangs.append(threading.current_thread())
            go.wait(PATIENCE)

        threads.run(hang)
        idle = await threads.run(threading.current_thread)
        await role.stopService()
        self.assertFalse(go.is_set())
        await until(reactor, lambda: not idle.is_alive())
        self.assertEqual(closed, [])
        go.set()
        await until(reactor, lambda: closed and not hangs[0].is_alive())

    async def test_lets_go(self) -> None:
        """
        Requests that are interrupted when the drain timeout ends have time to remove what they have
        made.
        """
        role, threads = self.make(0.01)
        role.startService()
        assert role._starting is not None
        await role._starting
        done: list[str] = []
        go = threading.Event()
        threads.run(go.wait).addCallback(lambda _: threads.run(done.append, "taken back"))
        stopped = role.stopService()
        await deferLater(reactor, 0.05)  # longer than the drain timeout  # type: ignore[arg-type]
        self.assertFalse(stopped.called)
        go.set()
        await stopped
        self.assertEqual(done, ["taken back"])


del _Workspace
