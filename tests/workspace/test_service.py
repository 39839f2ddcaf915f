"""
Tests for `chatfiles.workspace.service`: ``Via`` counts only with the platform's secret.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.http.server import connection, lingering_close
from chatfiles.http.server.site import Site
from chatfiles.runtime.options import Options
from chatfiles.runtime.role_service import RoleService
from chatfiles.runtime.settings import WorkspaceSettings
from chatfiles.streams.stall_timeout import PROXY_STALL_FACTOR
from chatfiles.workspace import service as service_module
from chatfiles.workspace.files.store import FileStore
from chatfiles.workspace.service import SECRET_FILE, workspace_service
from tests.contract.file_store import build, scratch
from tests.support.memory_client import Caller, get

SECRET = "s" * 43


class AtOnce:
    """Stands for `Threads` and runs each call at once."""

    def __init__(self, *_: object, **more: object) -> None:
        pass

    def run(
        self, call: Any, *arguments: Any, owner: object, discard: object = None
    ) -> Deferred[Any]:
        return maybeDeferred(call, *arguments)


class PrefixTests(SynchronousTestCase):
    """``--writable`` and ``--write-in-place``."""

    def made(self, *arguments: str) -> RoleService:
        options = Options({})
        options.parseOptions(["--role=workspace", "--root=/configs=/c", *arguments])
        assert isinstance(options.settings, WorkspaceSettings)
        return workspace_service(Clock(), options.settings, [], self.fail)

    def test_without_a_root(self) -> None:
        """A prefix in a root that is not served is an error."""
        for name in ("writable", "write-in-place"):
            error = self.assertRaises(ValueError, self.made, f"--{name}=/workspace/out")
            self.assertIn("--writable takes a directory in a root", str(error))

    def test_warning(self) -> None:
        """A prefix with files that configure the agent is in the log at each start."""
        for arguments, count in (([], 0), (["--writable=/configs/skills"], 1)):
            with capturedLogs() as events:
                self.made(*arguments)
            self.assertEqual(
                len([e for e in events if "configures the agent" in formatEvent(e)]), count
            )


class ViaTests(SynchronousTestCase):
    """
    Requests with ``Via``: a platform may stop reading for a while, because its own client is slow.
    """

    def site(self) -> Site:
        self.patch(service_module, "Threads", AtOnce)

        def store(*given: Any, find: bool) -> FileStore:
            return FileStore(*given)  # the role is not started, so nothing finds the roots later

        self.patch(service_module, "FileStore", store)
        top = scratch(self)
        build(top, {b"file": b"content", SECRET_FILE.encode(): SECRET.encode()})
        os.chmod(os.path.join(top, SECRET_FILE.encode()), 0o600)
        options, path = Options({}), os.fsdecode(top)
        options.parseOptions(
            ["--role=workspace", f"--root=/workspace={path}", f"--configs-dir={path}"]
        )
        assert isinstance(options.settings, WorkspaceSettings)
        site = workspace_service(Clock(), options.settings, [], self.fail)._site
        assert isinstance(site, Site)
        return site

    def timeouts(self, *lines: bytes) -> int:
        """:return: after how many idle timeouts a response that is not read is aborted."""
        for module in (connection, lingering_close):
            self.patch(module, "unsent", lambda transport: 1)
        caller = Caller(site=self.site())
        caller.send(get(b"/internal/file/read?path=/workspace/file", b"Via: 1.1 x", *lines))
        self.assertEqual(len(caller.answers()), 1)
        self.status = caller.answers()[0].status
        for count in range(2 * PROXY_STALL_FACTOR):
            if caller.lost:
                return count
            caller.advance(caller.site.idle_timeout)
        raise AssertionError("it is never given up")

    def test_with_the_secret(self) -> None:
        """
        With the secret, a stalled response gets more time, so that a slow client of the platform
        receives the end of the file.
        """
        timeouts = self.timeouts(b"Authorization: Bearer " + SECRET.encode())
        self.assertEqual((self.status, timeouts), (200, 1 + PROXY_STALL_FACTOR))

    def test_without_the_secret(self) -> None:
        """
        Without the secret, a response gets no more time: any client can send ``Via``, at no cost.
        """
        for lines in ([], [b"Authorization: Bearer wrong"]):
            self.assertEqual((self.timeouts(*lines), self.status), (2, 401), lines)
