"""
The embedded registry polls for changes by other processes.
"""

from __future__ import annotations

import os
import threading
from typing import Any
from uuid import UUID

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from chatfiles.platform.registry.cache import CachedRegistry
from chatfiles.platform.registry.sqlite import registry as registry_module
from chatfiles.platform.registry.sqlite.registry import (
    POLL_INTERVAL,
    START_TIMEOUT,
    SQLiteRegistry,
)
from tests.contract.registry_case import FIRST, SECOND, UNKNOWN
from tests.platform.registry.sqlite.sqlite_case import SQLiteTestCase, ThreadedClock
from tests.support.loopback import until
from tests.support.patience import PATIENCE


class PollTests(SQLiteTestCase):
    """Polling for changes by other processes."""

    async def test_only_while_subscribed(self) -> None:
        """A registry polls only while it is open and has subscribers."""
        clock = ThreadedClock()
        registry = await self.start(clock=clock)
        self.assertEqual(clock.getDelayedCalls(), [])
        unsubscribe = registry.subscribe(lambda _: None)
        self.assertEqual(len(clock.getDelayedCalls()), 1)
        other = registry.subscribe(lambda _: None)
        unsubscribe()
        self.assertEqual(len(clock.getDelayedCalls()), 1)
        other()
        self.assertEqual(clock.getDelayedCalls(), [])
        registry.subscribe(lambda _: None)
        await registry.close()
        self.assertEqual(clock.getDelayedCalls(), [])

    async def test_subscribed_before_the_start(self) -> None:
        """A subscription from before the start is notified of changes by other processes."""
        registry = self.make()
        told: Deferred[UUID | None] = Deferred()
        self.addCleanup(
            registry.subscribe(lambda changed: None if told.called else told.callback(changed))
        )
        await registry.start()
        self.execute("INSERT INTO workspaces (id) VALUES ('x')")
        self.assertIsNone(await told)

    async def test_changed_while_nobody_was_subscribed(self) -> None:
        """
        A new subscriber, which may have cached values, is notified of changes that were made
        between two subscriptions.
        """
        registry = await self.start()
        self.execute("INSERT INTO workspaces (id) VALUES ('x')")
        told: Deferred[UUID | None] = Deferred()
        self.addCleanup(
            registry.subscribe(lambda changed: None if told.called else told.callback(changed))
        )
        self.assertIsNone(await told)

    async def test_slow_start(self) -> None:
        """A start succeeds if it takes less than `START_TIMEOUT`, as on a busy machine."""
        clock = ThreadedClock()
        registry = self.make(clock=clock)
        reads, go_on = threading.Event(), threading.Event()
        self.addCleanup(go_on.set)
        version = registry_module._version

        def slow(*connection: Any) -> int:
            reads.set()
            go_on.wait(PATIENCE)
            return version(*connection)

        self.patch(registry_module, "_version", slow)
        started = Deferred.fromCoroutine(registry.start())
        await until(reactor, reads.is_set)
        clock.advance(START_TIMEOUT - 1)
        go_on.set()
        await started
        await registry.register(FIRST, url=None, delivery_mode=None, create_name="x")

    async def look(self, registry: SQLiteRegistry, clock: Clock) -> None:
        """Let the registry poll once."""
        clock.advance(0.01)
        await registry.ensure_secret(UNKNOWN, "")

    async def test_nothing_to_see(self) -> None:
        """Polls that find no change do not notify subscribers, so that caches are kept."""
        clock = ThreadedClock()
        registry = await self.start(clock=clock)
        told: list[UUID | None] = []
        self.addCleanup(registry.subscribe(told.append))
        await registry.register(FIRST, url=None, delivery_mode=None, create_name="x")
        for _ in range(3):
            await self.look(registry, clock)
        self.assertEqual(told, [FIRST])
        self.execute("UPDATE workspaces SET name = 'other'")
        for _ in range(3):
            await self.look(registry, clock)
        self.assertEqual(told, [FIRST, None])

    async def test_at_once(self) -> None:
        """
        A cached value is not used once another process has written, even before the next poll.
        """
        clock = ThreadedClock()  # it stands still
        inner = await self.start(clock=clock, poll_interval=POLL_INTERVAL)
        registry = CachedRegistry(inner, clock)
        await registry.register(FIRST, url="http://a.test", delivery_mode=None, create_name="x")
        for url in ("http://b.test", "http://c.test"):
            await until(reactor, lambda: inner.watching)
            found = await registry.workspace(FIRST)
            self.assertEqual(registry.cached_workspace(FIRST), found)
            self.execute(f"UPDATE workspaces SET url = '{url}'")
            self.assertIsNone(registry.cached_workspace(FIRST))
            self.assertEqual((await registry.workspace(FIRST)).url, url)  # type: ignore[union-attr]

    async def test_slow_poll(self) -> None:
        """
        Cached values are used while a poll takes long, unless another process writes meanwhile.
        """
        clock = ThreadedClock()
        inner = await self.start(clock=clock, poll_interval=POLL_INTERVAL)
        registry = CachedRegistry(inner, clock)
        await registry.register(FIRST, url="http://a.test", delivery_mode=None, create_name="x")
        await until(reactor, lambda: inner.watching)
        found = await registry.workspace(FIRST)
        reads, go_on = threading.Event(), threading.Event()
        self.addCleanup(go_on.set)
        version = registry_module._version

        def slow(*connection: Any) -> int:
            reads.set()
            go_on.wait(PATIENCE)
            return version(*connection)

        self.patch(registry_module, "_version", slow)
        clock.advance(POLL_INTERVAL)
        await until(reactor, reads.is_set)
        self.assertEqual(registry.cached_workspace(FIRST), found)
        self.execute("UPDATE workspaces SET url = 'http://b.test'")
        self.assertIsNone(registry.cached_workspace(FIRST))
        go_on.set()
        self.assertEqual((await registry.workspace(FIRST)).url, "http://b.test")  # type: ignore[union-attr]

    async def test_our_own_writes(self) -> None:
        """Writes of the same process, such as batches of heartbeats, do not empty the cache."""
        clock = ThreadedClock()
        inner = await self.start(clock=clock, poll_interval=POLL_INTERVAL)
        registry = CachedRegistry(inner, clock)
        for workspace_id in (FIRST, SECOND):
            await registry.register(workspace_id, url=None, delivery_mode=None, create_name="x")
        await until(reactor, lambda: inner.watching)
        known = await registry.workspace(FIRST)
        await registry.ensure_secret(SECOND, "secret")
        await until(reactor, lambda: inner.watching)
        self.assertIs(registry.cached_workspace(FIRST), known)

    async def test_within_a_second(self) -> None:
        """
        Subscribers are notified within a second of another process's change, such as a revocation.
        """
        clock = ThreadedClock()
        registry = await self.start(clock=clock, poll_interval=POLL_INTERVAL)
        told: Deferred[UUID | None] = Deferred()
        self.addCleanup(registry.subscribe(told.callback))
        clock.advance(POLL_INTERVAL * 0.9)
        self.execute("INSERT INTO workspaces (id) VALUES ('x')")
        clock.advance(1 - 0.1)
        self.assertIsNone(await told)

    async def test_behind_a_write(self) -> None:
        """
        A token that another process has revoked is invalid within a second, even while a write of
        this process waits for a lock.
        """
        clock = ThreadedClock()
        inner = await self.start(clock=clock, poll_interval=POLL_INTERVAL)
        registry = CachedRegistry(inner, clock)
        await registry.register(FIRST, url=None, delivery_mode=None, create_name="x")
        self.execute(
            "INSERT INTO workspace_auth_tokens (id, workspace_id, token_hash)"
            f" VALUES ('{SECOND}', '{FIRST}', x'01')"
        )
        go_on = threading.Event()
        self.addCleanup(go_on.set)
        waits = inner._writer.call("", lambda _: go_on.wait(PATIENCE), timeout=PATIENCE)
        for _ in range(3):
            self.execute("UPDATE workspace_auth_tokens SET revoked_at = NULL")
            self.assertIsNotNone(await registry.token(b"\x01"))
            self.execute("UPDATE workspace_auth_tokens SET revoked_at = ''")
            clock.advance(POLL_INTERVAL)
            clock.advance(0.99 - POLL_INTERVAL)
            self.assertIsNone(await registry.token(b"\x01"))
        go_on.set()
        await waits
        self.assertEqual(self.log(), [])

    async def test_a_new_connection_may_have_missed_changes(self) -> None:
        """
        Subscribers are notified when a lost connection is replaced, because other processes may
        have made changes meanwhile.
        """
        clock = ThreadedClock()
        registry = await self.start(clock=clock)
        told: list[UUID | None] = []
        self.addCleanup(registry.subscribe(told.append))
        await registry._writer.call("", lambda db: db.close())
        await self.fails(registry.ensure_secret(FIRST, ""))
        await self.look(registry, clock)
        self.assertEqual(told, [None])

    async def test_cannot_see(self) -> None:
        """
        Subscribers are notified at each poll that fails, so that cached values do not hide an
        outage.
        """
        clock = ThreadedClock()
        registry = await self.start(clock=clock)
        told: list[UUID | None] = []
        self.addCleanup(registry.subscribe(told.append))
        os.rename(self.path, self.path + ".away")
        for _ in range(2):
            clock.advance(0.01)
            await self.fails(registry.ensure_secret(FIRST, ""))
        self.assertEqual(told, [None, None])
        os.rename(self.path + ".away", self.path)
        await self.look(registry, clock)
        self.assertEqual(told, [None, None])
