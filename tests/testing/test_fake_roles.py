"""
The fake roles, as a test of another program uses them.
"""

from __future__ import annotations

import treq
from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from twisted.web.http_headers import Headers

from chatfiles.model import Scope
from chatfiles.testing import FakePlatform, FakeWorkspace, KnownWorkspace


class FakeRolesTests(TestCase):
    """A request through both."""

    async def setUp(self) -> None:  # type: ignore[override]
        self.workspace = FakeWorkspace(reactor, self.mktemp(), ["--writable=/workspace/out"])
        self.platform = FakePlatform(reactor)
        for role in (self.workspace, self.platform):
            await role.start()
            self.addCleanup(role.stop)

    async def ask(self, known: KnownWorkspace, path: str, method: str = "GET", **more):
        """:return: the status, and the body."""
        response = await treq.request(
            method,
            f"{self.platform.url}/workspaces/{known.id}/{path}",
            headers=Headers({b"Authorization": [f"Bearer {known.token}".encode()]}),
            persistent=False,
            **more,
        )
        return response.code, await response.content()

    async def test_download(self) -> None:
        """A file that the test has made is downloaded."""
        self.workspace.write("/workspace/deep/a.txt", b"hello\n")
        known = await self.platform.add(self.workspace)
        found = await self.ask(known, "chat/download?path=/workspace/deep/a.txt")
        self.assertEqual(found, (200, b"hello\n"))

    async def test_write(self) -> None:
        """Options are those of the role."""
        self.workspace.write("/workspace/out/a", b"old")
        known = await self.platform.add(self.workspace)
        status, _ = await self.ask(known, "fs/file?path=/workspace/out/b", "PUT", data=b"new")
        self.assertEqual(status, 201)
        status, _ = await self.ask(known, "fs/file?path=/workspace/b", "PUT", data=b"new")
        self.assertEqual(status, 403)

    async def test_scopes(self) -> None:
        """A token has the scopes that the test says."""
        known = await self.platform.add(self.workspace, frozenset({Scope.WRITE}))
        status, _ = await self.ask(known, "fs/roots")
        self.assertEqual(status, 403)

    async def test_unreachable(self) -> None:
        """A workspace without a URL has not registered yet."""
        known = await self.platform.add()
        status, _ = await self.ask(known, "fs/roots")
        self.assertEqual(status, 503)

    async def test_outage(self) -> None:
        """The registry fails when the test says so."""
        known = await self.platform.add(self.workspace)
        self.platform.registry.failing = True
        status, _ = await self.ask(known, "fs/roots")
        self.assertEqual(status, 503)
        self.platform.registry.failing = False
        status, _ = await self.ask(known, "fs/roots")
        self.assertEqual(status, 200)

    def test_wrong_option(self) -> None:
        """A wrong option is an error of the test, not the end of its process."""
        error = self.assertRaises(ValueError, FakePlatform, reactor, ["--nothing"])
        self.assertIn("--nothing", str(error))
