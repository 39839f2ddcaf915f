"""
What a node caches and logs during faults of PostgreSQL.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred

from chatfiles.errors import ConstraintViolated, RegistryUnavailable
from chatfiles.model import token_hash
from chatfiles.platform.registry.cache import CachedRegistry
from tests.contract.registry_case import FIRST, SECRET, begun, every_call
from tests.platform.registry.postgres.faults_case import LATE, FaultCase
from tests.platform.registry.postgres.postgres_case import REACTOR, pause
from tests.support.postgres_server import PASSWORD


class CacheTests(FaultCase):
    """The cache while no notifications arrive."""

    async def test_off_while_nobody_tells(self) -> None:
        """
        While a node receives no notifications it caches nothing, so that no revoked token stays
        valid.
        """
        registry = await self.start()
        cache = CachedRegistry(registry, REACTOR)
        await self.add_first(cache)
        token = await self.recovers(lambda: self.remembered(cache))
        told: list[UUID | None] = []
        self.addCleanup(cache.subscribe(told.append))
        self.patch(registry._listener, "_connect", lambda: Deferred.fromCoroutine(_refused()))
        pids = self.database.server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = %s AND query LIKE '%%FROM pg_trigger%%'",
            (self.database.name,),
        )
        self.assertGreaterEqual(len(pids), 1)
        while None not in told:
            await pause(0.01)
        self.assertIsNone(cache.cached_token(token_hash("token")))
        self.assertEqual(await cache.token(token_hash("token")), token)
        await cache.workspace(FIRST)
        self.assertIsNone(cache.cached_token(token_hash("token")))
        self.assertIsNone(cache.cached_workspace(FIRST))
        self.database.execute("UPDATE workspace_auth_tokens SET revoked_at = now()")
        self.assertIsNone(await cache.token(token_hash("token")))

    async def test_triggers_disabled(self) -> None:
        """
        While triggers are disabled, or missing after a dump was restored, nothing is cached, so
        that no revoked token stays valid.
        """
        registry = await self.start()
        cache = CachedRegistry(registry, REACTOR)
        await self.add_first(cache)
        on_tokens, on_workspaces = "ALTER TABLE workspace_auth_tokens", "ALTER TABLE workspaces"
        for broken, mended in (
            (
                f"{on_tokens} DISABLE TRIGGER chatfiles_changed",
                f"{on_tokens} ENABLE TRIGGER chatfiles_changed",
            ),
            (
                f"{on_workspaces} DISABLE TRIGGER USER",
                f"{on_workspaces} ENABLE TRIGGER chatfiles_truncated,"
                " ENABLE ALWAYS TRIGGER chatfiles_changed",
            ),
        ):
            await self.recovers(lambda: self.remembered(cache))
            self.database.execute(broken)
            await self.noticed(registry)
            await cache.token(token_hash("token"))
            self.assertIsNone(cache.cached_token(token_hash("token")))
            self.database.execute(mended)
        await self.recovers(lambda: self.remembered(cache))
        lines = [line for line in self.log() if "triggers of chatfiles are missing" in line]
        self.assertEqual(len(lines), 2)

    async def test_read_from_a_standby(self) -> None:
        """
        Rows read from a standby are not cached, because they may be older than a change that was
        notified. Connections to it are closed, so that a primary is used again.
        """
        registry = await self.start()
        cache = CachedRegistry(registry, REACTOR)
        await self.add_first(cache)
        await self.recovers(lambda: self.remembered(cache))
        await cache.workspace(FIRST)
        connections = list(registry._readers._idle)
        for connection in connections:
            connection.is_standby = True
        for _ in connections:
            await registry.check()
            self.assertIsNone(cache.cached_token(token_hash("token")))
            self.assertIsNone(cache.cached_workspace(FIRST))
        self.assertTrue(all(connection.is_closed for connection in connections))
        await self.remembered(cache)

    async def remembered(self, cache: CachedRegistry) -> Any:
        found = await cache.token(token_hash("token"))
        if cache.cached_token(token_hash("token")) is None:
            raise RegistryUnavailable
        return found

    async def test_revoked_over_a_hung_connection(self) -> None:
        """
        If the network delivers no notifications the cache is emptied within 1 s, so that no revoked
        token stays valid.
        """
        hop, url = self.hop()
        registry = await self.start(url)
        cache = CachedRegistry(registry, REACTOR)
        await self.add_first(cache)
        await self.recovers(lambda: self.remembered(cache))
        begin = REACTOR.seconds()
        hop.hangs = True
        while cache.cached_token(token_hash("token")) is not None:
            await pause(0.01)
        self.assertLess(REACTOR.seconds() - begin, 1 + LATE)
        hop.hangs = False
        hop.cut()
        await self.recovers(lambda: self.remembered(cache))


class SecretTests(FaultCase):
    """What the log shows."""

    async def test_password_is_not_shown(self) -> None:
        """
        The password of the URL, inbound secrets and token hashes are not logged with an error.
        """
        registry = await self.start()
        await self.add_first(registry)
        self.database.execute(
            "ALTER TABLE workspaces ADD CHECK (name <> 'new' AND status <> 'online')",
        )
        self.database.execute("ALTER TABLE workspace_auth_tokens RENAME COLUMN scopes TO others")
        told = (RegistryUnavailable, ConstraintViolated)
        for call in every_call(registry).values():
            with_error = begun(call())
            await with_error.addErrback(lambda failure: failure.trap(*told))
        head, _, tail = self.database.url.rpartition("@")
        for url in (f"{head}x@{tail}", f"{head}@127.0.0.1:1/x"):
            await self.fails(self.make(url).start())
        shown = repr((self.events, self.log(), registry, registry.__dict__))
        self.assertIn("violates check constraint", shown)
        self.assertIn("password authentication failed", shown)
        for secret in (SECRET, PASSWORD, head.rpartition(":")[2], token_hash("token").hex()):
            self.assertNotIn(secret, shown)

    async def test_one_line_per_trouble(self) -> None:
        """An outage is logged when it begins and when it ends, not for each call."""
        registry = await self.start()
        self.database.allow(False)
        for _ in range(5):
            await self.fails(registry.workspace(FIRST))
        self.database.allow(True)
        await self.recovers(registry.check)
        lines = [line for line in self.log() if "(readers)" in line]
        self.assertLessEqual(len(lines), 4)
        self.assertIn("responds again", lines[-1])


async def _refused() -> None:
    raise RegistryUnavailable
