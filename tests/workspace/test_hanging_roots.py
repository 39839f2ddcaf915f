"""
A workspace with a root that hangs: the other roots are served, and the work of clients that have
left is discarded.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from twisted.internet import reactor
from twisted.logger import capturedLogs, eventAsText
from twisted.python.threadable import isInIOThread
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource

from chatfiles.posix.openat2 import WouldWait
from chatfiles.runtime.options import Options
from chatfiles.runtime.role_service import RoleService
from chatfiles.runtime.settings import WorkspaceSettings
from chatfiles.workspace import service as service_module
from chatfiles.workspace.files import root as root_module
from chatfiles.workspace.files import store as store_module
from chatfiles.workspace.files import write_targets as targets_module
from chatfiles.workspace.files.open_beneath import open_regular
from chatfiles.workspace.routes.route_table import workspace_tree
from chatfiles.workspace.service import workspace_service
from tests.contract.file_store import build, scratch
from tests.support.loopback import Loopback, reset_on_close, until
from tests.support.memory_client import Received, parse
from tests.support.patience import PATIENCE

#: More requests than a root has threads.
MANY = 20
LENGTH = "Upload-Length: 3"
UPLOAD = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nx\r\n--b--\r\n'


class _Disk:
    """
    A file system that hangs until it is released.

    :ivar began: whether each call that hung began on the reactor's thread.
    """

    def __init__(self, case: TestCase) -> None:
        self.go = threading.Event()
        self.began: list[bool] = []
        case.addCleanup(self.go.set)

    def hang(self) -> None:
        self.began.append(isInIOThread())
        # On the reactor's thread the wait is bounded, so that a defect does not block the tests.
        self.go.wait(PATIENCE if isInIOThread() else None)


class _Workspace(TestCase):
    """A workspace with ``/home`` on the disk that hangs, and ``/workspace`` elsewhere."""

    def setUp(self) -> None:
        self.top = scratch(self)
        build(
            self.top,
            {
                b"ws/small": b"near",
                b"home/small": b"far",
                b"configs/.platform_inbound_secret": b"abc",
            },
        )
        os.chmod(self.top + b"/configs/.platform_inbound_secret", 0o600)
        self.disk = _Disk(self)
        self.trees: list[Resource] = []

    async def start(self, *more: str) -> None:
        """Start the role."""

        def tree(*contexts: Any) -> Resource:
            self.trees.append(make(*contexts))
            return self.trees[0]

        make = workspace_tree
        self.patch(service_module, "workspace_tree", tree)
        options = Options({})
        top = os.fsdecode(self.top)
        options.parseOptions(
            [
                "--role=workspace",
                f"--root=/workspace={top}/ws",
                f"--root=/home={top}/home",
                f"--configs-dir={top}/configs",
                "--drain-timeout=0.1",
                *more,
            ]
        )
        assert isinstance(options.settings, WorkspaceSettings)
        role = workspace_service(reactor, options.settings, [], lambda: self.fail("cannot start"))
        role.startService()
        self.addCleanup(self.stop, role)
        assert role._starting is not None
        await role._starting

    def stop(self, role: RoleService) -> Any:
        self.disk.go.set()
        return role.stopService()

    def connect(self) -> Loopback:
        return Loopback(self, reactor, self.trees[0])

    async def ask(self, target: str, method: str = "GET", body: bytes = b"") -> Received:
        """:return: the whole response."""
        client = self.connect()
        await client.send(request(target, method, body))
        await client.read(lambda got: [each.complete for each in parse(got)] == [True])
        (response,) = client.answers()
        return response

    async def read(self, path: str) -> tuple[int, bytes]:
        response = await self.ask(f"/internal/file/read?path={path}")
        return response.status, response.body


def tus(target: str, method: str, *more: str) -> bytes:
    lines = (f"{method} {target} HTTP/1.1", "Host: x", "Authorization: Bearer abc")
    return "\r\n".join([*lines, "Tus-Resumable: 1.0.0", *more, "", ""]).encode()


def request(
    target: str,
    method: str = "GET",
    body: bytes = b"",
    kind: str = "multipart/form-data; boundary=b",
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: x", "Authorization: Bearer abc"]
    if body:
        lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


class HangsTests(_Workspace):
    """A root that hangs after the start."""

    async def test_others_are_served(self) -> None:
        """
        Requests for a root that hangs occupy only the threads of that root: other files, uploads
        and ``/ready`` are served.  What clients that have left asked for is not done later.
        """
        await self.start()
        self.assertEqual(await self.read("/home/small"), (200, b"far"))

        def opened(fd: int, segments: Any, *arguments: Any, **more: Any) -> Any:
            if segments == (b"hangs",):
                if isInIOThread():
                    raise WouldWait
                self.disk.hang()
            return open_regular(fd, segments, *arguments, **more)

        self.patch(store_module, "open_regular", opened)
        clients = [self.connect() for _ in range(MANY)]
        for client in clients:
            await client.send(request("/internal/file/read?path=/home/hangs"))
        await until(reactor, lambda: len(self.disk.began) == 16)
        for client in clients:
            reset_on_close(client.socket)
            client.socket.close()
        await until(reactor, lambda: not any(client.site.channels for client in clients))
        self.assertEqual(await self.read("/workspace/small"), (200, b"near"))
        stored = await self.ask("/internal/chat/uploads/ingest", "POST", UPLOAD)
        self.assertEqual(stored.status, 200)
        self.assertEqual((await self.ask("/ready")).status, 200)
        self.disk.go.set()
        self.assertEqual((await self.read("/home/none"))[0], 404)
        self.assertEqual(self.disk.began, [False] * 16)

    async def test_resumable_uploads(self) -> None:
        """Resumable uploads to a root that hangs hold up no upload elsewhere."""
        await self.start("--writable=/home")
        locations = [await self.created("?path=/home/x") for _ in range(MANY)]
        look = targets_module.Targets.open

        def opened(targets: Any, path: Any) -> Any:
            if path.root == b"/home":
                self.disk.hang()
            return look(targets, path)

        self.patch(targets_module.Targets, "open", opened)
        clients = [self.connect() for _ in range(2 * MANY)]
        for client, location in zip(clients, locations, strict=False):
            await client.send(tus(location, "HEAD"))
        for client in clients[MANY:]:
            await client.send(tus("/internal/uploads?path=/home/y", "POST", LENGTH))
        await until(reactor, lambda: len(self.disk.began) == 16)
        stored = await self.ask("/internal/chat/uploads/ingest", "POST", UPLOAD)
        self.assertEqual(stored.status, 200)
        await self.created("")
        self.assertEqual(self.disk.began, [False] * 16)

    async def created(self, query: str) -> str:
        """:return: the target of a new upload."""
        client = self.connect()
        await client.send(tus(f"/internal/uploads{query}", "POST", LENGTH))
        await client.read(lambda got: [each.complete for each in parse(got)] == [True])
        (response,) = client.answers()
        self.assertEqual(response.status, 201)
        return response.fields["location"]

    async def test_in_place_without_uploads(self) -> None:
        """Files are written in place although there is no directory of uploads."""
        await self.start("--write-in-place=/home")
        os.rename(self.top + b"/ws", self.top + b"/gone")
        client = self.connect()
        await client.send(request("/internal/fs/file?path=/home/x", "PUT", b"abc", "text/plain"))
        await client.read(lambda got: [each.complete for each in parse(got)] == [True])
        self.assertEqual(client.answers()[0].status, 201)
        self.assertEqual(await self.read("/home/x"), (200, b"abc"))


class StartTests(_Workspace):
    """A root that hangs when the role starts."""

    def hang(self, name: str, part: bytes) -> None:
        """Let a function of ``os.path`` hang for paths that begin with *part*, below `top`."""
        function = getattr(os.path, name)

        def hanging(path: Any) -> Any:
            if os.fsencode(path).startswith(self.top + part):
                self.disk.hang()
            return function(path)

        self.patch(os.path, name, hanging)

    async def log_of_start(self) -> str:
        """Start the role.  :return: what it logs meanwhile."""
        with capturedLogs() as events:
            await self.start()
        return "\n".join(map(eventAsText, events))

    async def test_root_hangs(self) -> None:
        """The role listens although a root hangs, and serves that root once the disk responds."""
        self.patch(service_module, "START_TIMEOUT", 0.05)
        self.hang("realpath", b"/home")
        logged = await self.log_of_start()
        top = os.fsdecode(self.top)
        self.assertIn(f"--root=/home={top}/home: the file system does not respond", logged)
        self.assertEqual(await self.read("/workspace/small"), (200, b"near"))
        self.assertEqual((await self.ask("/ready")).status, 200)
        self.assertEqual(self.disk.began, [False])
        self.disk.go.set()
        self.assertEqual(await self.read("/home/small"), (200, b"far"))

    async def test_rule_about_a_root_that_hangs(self) -> None:
        """
        While it is unknown whether a root lies within another one, a file of the latter that a rule
        may hide is unavailable; after that, the rule is applied.
        """
        build(self.top, {b"ws/home/key": b"hidden"})
        os.rename(self.top + b"/home", self.top + b"/old")
        os.symlink(self.top + b"/ws/home", self.top + b"/home")
        self.patch(service_module, "START_TIMEOUT", 0.05)
        self.hang("realpath", b"/home")
        await self.start("--deny=/home/key")
        self.assertEqual((await self.read("/workspace/home/key"))[0], 503)
        self.disk.go.set()
        # Unlike a hidden name, this one waits until it is known where the root is.
        self.assertEqual((await self.read("/home/none"))[0], 404)
        self.assertEqual((await self.read("/workspace/home/key"))[0], 404)
        self.assertEqual(await self.read("/workspace/small"), (200, b"near"))

    async def test_mount_point(self) -> None:
        """
        A root that is a mount point does not delay files of other roots, as it is clear where it
        is.
        """
        self.patch(service_module, "START_TIMEOUT", 0.05)
        self.patch(root_module, "mount_points", lambda: {self.top + b"/home"})
        self.hang("realpath", b"/home")
        self.hang("isdir", b"/home")
        await self.start("--deny=/home/key")
        self.assertEqual(await self.read("/workspace/small"), (200, b"near"))
        self.assertEqual(self.disk.began, [False])

    async def test_uploads_hang(self) -> None:
        """
        The role listens before the leftovers of a killed process are removed; an upload succeeds
        once the disk responds.
        """
        self.patch(service_module, "START_TIMEOUT", 0.05)
        listdir = os.listdir

        def hanging(where: Any) -> Any:
            self.disk.hang()
            return listdir(where)

        os.makedirs(self.top + b"/ws/.molecule/chat-uploads")
        self.patch(os, "listdir", hanging)
        logged = await self.log_of_start()
        name = "sweep of /workspace/.molecule/chat-uploads"
        self.assertIn(f"{name}: the file system does not respond", logged)
        self.assertEqual(await self.read("/home/small"), (200, b"far"))
        client = self.connect()
        await client.send(request("/internal/chat/uploads/ingest", "POST", UPLOAD))
        # Both sweeps hang, each in a thread: of chat uploads, and of resumable ones.
        self.assertEqual(self.disk.began, [False] * 2)
        self.disk.go.set()
        await client.read(lambda got: [each.complete for each in parse(got)] == [True])
        self.assertEqual(client.answers()[0].status, 200)
        self.assertNotIn(True, self.disk.began)


del _Workspace
