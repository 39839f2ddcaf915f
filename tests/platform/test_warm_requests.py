"""
Both roles in this process, over sockets: the statements that downloads send to the registry.
"""

from __future__ import annotations

import json
import os
import sqlite3
from importlib import import_module
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from chatfiles.platform import last_seen, service
from chatfiles.platform.admin_token import AdminToken
from chatfiles.platform.registry.sqlite.file import DatabaseFile
from chatfiles.platform.service import open_registry, platform_service
from chatfiles.runtime.options import Options
from chatfiles.runtime.role_service import Listener, RoleService
from chatfiles.runtime.settings import PlatformSettings, WorkspaceSettings
from chatfiles.workspace.service import workspace_service
from tests.live.rawhttp import Response, fetch
from tests.support.postgres_server import Database, server

REACTOR: Any = reactor
ADMIN = "an-admin-token"
ANYWHERE = "tcp:0:interface=127.0.0.1"


def parsed(*words: str, **environment: str) -> PlatformSettings | WorkspaceSettings:
    """:return: the settings of the command line and the environment."""
    options = Options(environment)
    options.parseOptions(list(words))
    return options.settings


class WarmContract(TestCase):
    """
    Downloads on a warm cache.

    :ivar sent: the statements that were sent to the database.
    :ivar forgotten: grows whenever the platform's cache is cleared.
    """

    def database_url(self) -> str:
        """:return: the URL of an empty database, whose statements are recorded from now on."""
        raise NotImplementedError

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement as another program does."""
        raise NotImplementedError

    def setUp(self) -> Deferred[None]:  # type: ignore[override]
        self.sent: list[str] = []
        self.forgotten: list[object] = []
        self.patch(service, "open_registry", self.open_registry)
        self.patch(last_seen, "FLUSH_INTERVAL", 3600.0)
        self.base = os.path.abspath(self.mktemp())
        for name in ("configs", "workspace"):
            os.makedirs(f"{self.base}/{name}")
        self.write("workspace/a.txt", "hello")
        return Deferred.fromCoroutine(self.start())

    def open_registry(self, *given: Any) -> Any:
        """Call the original, and record when its cache is cleared."""
        registry: Any = open_registry(*given)
        registry.subscribe(lambda changed: None if changed else self.forgotten.append(changed))
        return registry

    async def start(self) -> None:
        """Start both roles."""
        root, configs = f"--root=/workspace={self.base}/workspace", f"{self.base}/configs"
        settings = parsed("--role=workspace", root, f"--configs-dir={configs}")
        assert isinstance(settings, WorkspaceSettings)
        listeners = [self.listener()]
        workspace = workspace_service(REACTOR, settings, listeners, self.fail)
        self.workspace = await self.started(workspace)
        state, allowed = f"--state-dir={self.base}", "--upstream-allow=127.0.0.0/8"
        database = self.database_url()
        platform = parsed("--role=platform", state, allowed, CHATFILES_DATABASE=database)
        assert isinstance(platform, PlatformSettings)
        self.service = platform_service(
            REACTOR, platform, lambda: AdminToken(ADMIN), [self.listener()], self.fail
        )
        self.platform = await self.started(self.service)

    def write(self, name: str, text: str) -> None:
        path = f"{self.base}/{name}"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(text)

    def listener(self) -> Listener:
        return Listener(ANYWHERE, serverFromString(REACTOR, ANYWHERE))

    async def started(self, service: RoleService) -> str:
        """:return: the URL on which it listens."""
        service.startService()
        self.addCleanup(lambda: service.stopService() if service.running else None)
        assert service._starting is not None
        await service._starting
        return service._listeners[0].url(service._ports[0])

    def ask(self, target: str, token: str = ADMIN, **more: Any) -> Deferred[Response]:
        fields = {"Authorization": f"Bearer {token}"}
        return deferToThread(fetch, self.platform, target, fields, **more)

    async def enrol(self) -> tuple[str, str]:
        """:return: the id and the token of a registered workspace."""
        body = json.dumps({"url": self.workspace}).encode()
        made = (await self.ask("/workspaces", method="POST", body=body)).json
        body = json.dumps({"id": made["id"], "url": self.workspace}).encode()
        registered = await self.ask(
            "/registry/register", made["auth_token"], method="POST", body=body
        )
        secret = registered.json["platform_inbound_secret"]
        self.write("configs/.platform_inbound_secret", secret)
        return made["id"], made["auth_token"]

    async def link(self, workspace_id: str, token: str) -> str:
        """:return: the target of a link."""
        body = json.dumps({"path": "/workspace/a.txt"}).encode()
        target = f"/workspaces/{workspace_id}/links"
        made = await self.ask(target, token, method="POST", body=body)
        url: str = made.json["url"]
        return url

    def asked(self) -> list[str]:
        """
        :return: the statements so far, except those that only check for writes of other programs.
        """
        return [sql for sql in self.sent if not ("data_version" in sql or "pg_trigger" in sql)]

    async def round(self, workspace_id: str, token: str) -> bool:
        """:return: whether downloads, links and heartbeats sent no statement to the database."""
        asked = len(self.asked())
        target = f"/workspaces/{workspace_id}/chat/download?path=/workspace/a.txt"
        body = json.dumps({"workspace_id": workspace_id}).encode()
        for _ in range(5):
            for method, bearer in (("GET", token), ("HEAD", token), ("GET", ADMIN)):
                self.assertEqual((await self.ask(target, bearer, method=method)).status, 200)
            answer = await self.ask("/registry/heartbeat", token, method="POST", body=body)
            self.assertEqual(answer.status, 200)
            for link in self.links:
                opened = await deferToThread(fetch, self.platform, link)
                self.assertEqual((opened.status, opened.body), (200, b"hello"))
        return len(self.asked()) == asked

    async def test_warm(self) -> None:
        """
        With a warm cache, downloads, links and heartbeats send no statement to the database. The
        last use of the token is written when the service stops.
        """
        workspace_id, token = await self.enrol()
        self.links = [await self.link(workspace_id, bearer) for bearer in (token, ADMIN)]
        # Until the cache knows the registration; and again if it was cleared because, on a very
        # busy machine, it could not verify in time that it is notified of changes.
        while not await self.round(workspace_id, token):
            pass
        self.sent.clear()
        forgotten = len(self.forgotten)
        while not await self.round(workspace_id, token):
            # While the registry looks for changes of other programs, the cache is not used.
            if not any("data_version" in sql for sql in self.sent):
                self.assertGreater(len(self.forgotten), forgotten, self.asked())
            self.sent.clear()
            forgotten = len(self.forgotten)
        unused = "SELECT count(*) FROM workspace_auth_tokens WHERE last_used_at IS NULL"
        self.assertEqual(self.execute(unused), [(1,)])
        await self.service.stopService()
        self.assertEqual(self.execute(unused), [(0,)])
        self.assertNotEqual(self.asked(), [])


class WarmSQLiteTests(WarmContract):
    """On the embedded registry."""

    def database_url(self) -> str:
        connect = DatabaseFile.connect

        def recorded(file: DatabaseFile, *given: Any) -> sqlite3.Connection:
            connection = connect(file, *given)
            connection.set_trace_callback(self.sent.append)
            return connection

        self.patch(DatabaseFile, "connect", recorded)
        self.path = f"{self.base}/registry.db"
        return f"sqlite:{self.path}"

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()


class WarmPostgresTests(WarmContract):
    """On PostgreSQL."""

    def database_url(self) -> str:
        self.database = Database(server())
        self.addCleanup(self.database.release)
        link = import_module("chatfiles.platform.registry.postgres.connection").PostgresConnection
        execute = link.execute

        def recorded(self_: Any, sql: str, *values: Any) -> Any:
            self.sent.append(sql)
            return execute(self_, sql, *values)

        self.patch(link, "execute", recorded)
        return self.database.url

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        return self.database.execute(sql)


del WarmContract
