"""
PostgreSQL with many rows: lookups use indexes, and cached rows are not read again.

With ``CHATFILES_SOAK=1``, a million workspaces and two million tokens; their times are printed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, ClassVar
from uuid import UUID

from twisted.internet.task import LoopingCall

from chatfiles.platform.last_seen import BATCH
from chatfiles.platform.registry.cache import CachedRegistry
from chatfiles.platform.registry.queries import Values
from chatfiles.platform.registry.statements import POSTGRES
from tests.platform.registry.postgres.postgres_case import REACTOR, PostgresTestCase
from tests.support.postgres_server import Database, server

SOAK = os.environ.get("CHATFILES_SOAK") == "1"
WORKSPACES = 1_000_000 if SOAK else 20_000
#: How many of them are looked up.
ASKED = 500

#: Ids are spread like real ones, and computed from a number; each workspace has two tokens,
#: whose digests are those of ``ID-0`` and ``ID-1``.
_ID = "encode(substr(sha256(n::text::bytea), 1, 16), 'hex')::uuid"
MANY = f"""
    SET session_replication_role = replica;
    INSERT INTO workspaces (id, name, url, status, delivery_mode, platform_inbound_secret,
                            created_at)
        SELECT {_ID}, 'workspace ' || n, 'http://10.0.0.1:8000', 'online', 'push', 'secret',
            timestamptz '2026-01-01' + n / 10 * interval '1 second'
        FROM generate_series(1, %s) AS n;
    INSERT INTO workspace_auth_tokens (id, workspace_id, token_hash, prefix, created_at)
        SELECT encode(substr(sha256((id::text || k)::bytea), 1, 16), 'hex')::uuid, id,
            sha256((id::text || '-' || k)::bytea), 'prefix', created_at
        FROM workspaces, generate_series(0, 1) AS k;
    INSERT INTO workspaces (id, status, created_at)
        SELECT {_ID}, 'removed', timestamptz '2025-01-01' FROM generate_series(-%s, -1) AS n;"""


class ScaleTests(PostgresTestCase):
    """A registry with many workspaces."""

    timeout = 900 if SOAK else 300
    #: Filled once, and used by all tests.
    _filled: ClassVar[Database | None] = None

    async def filled(self) -> list[tuple[UUID, bytes]]:
        """
        Use the filled database.

        :return: some ids, and the digest of one token of each.
        """
        if ScaleTests._filled is None:
            ScaleTests._filled = self.database = Database(server())
            await (await self.start()).close()
            with self.measured(f"{2 * WORKSPACES} workspaces and as many tokens written"):
                self.database.execute(MANY, (WORKSPACES, WORKSPACES))
        self.database = ScaleTests._filled
        rows = self.database.execute(
            f"SELECT id, sha256((id::text || '-1')::bytea) FROM"
            f" (SELECT {_ID} AS id FROM generate_series(1, %s, %s) AS n) AS spread",
            (WORKSPACES, WORKSPACES // ASKED),
        )
        return [(UUID(each), bytes(digest)) for each, digest in rows]

    async def test_plans(self) -> None:
        """No statement of a request reads or sorts a whole table."""
        some = await self.filled()
        self.assert_indexes(some)  # before the first ANALYZE
        self.database.execute("ANALYZE workspaces, workspace_auth_tokens")
        self.assert_indexes(some)

    def assert_indexes(self, some: list[tuple[UUID, bytes]]) -> None:
        ids = [str(each) for each, _ in some]
        moments = [datetime.now(UTC)] * len(ids)
        page = {"id": ids[0], "age": "2026-01-02", "limit": 1001}
        table: tuple[tuple[str, Values], ...] = (
            (POSTGRES.workspace, {"id": ids[0]}),
            (POSTGRES.workspace + POSTGRES.lock, {"id": ids[0]}),
            (POSTGRES.token, {"digest": some[0][1]}),
            (POSTGRES.tokens, {"workspace_id": ids[0]}),
            (POSTGRES.token_any, {"workspace_id": ids[0]}),
            (POSTGRES.workspaces, page),
            (POSTGRES.workspace_age, page),
            (POSTGRES.workspaces_after, page),
            (POSTGRES.workspace_touch, {"ids": ids[:50], "moments": moments[:50]}),
            (POSTGRES.token_touch, {"ids": ids[:50], "moments": moments[:50]}),
        )
        for sql, values in table:
            ((plan,),) = self.database.execute(f"EXPLAIN (FORMAT JSON) {sql}", values)
            kinds = [node["Node Type"] for node in _nodes(plan[0]["Plan"])]
            self.assertNotIn("Seq Scan", kinds, sql)
            self.assertTrue(any(kind.startswith(("Index", "Bitmap")) for kind in kinds), sql)
            if "LIMIT" in sql:
                self.assertNotIn("Sort", "".join(kinds), sql)
            if sql in (POSTGRES.workspaces, POSTGRES.workspaces_after):  # skips removed ones
                self.assertIn("chatfiles_workspaces_live_by_age", json.dumps(plan))

    async def test_warm(self) -> None:
        """Cached rows are not read again, and recording heartbeats and uses drops none of them."""
        some = await self.filled()
        inner = await self.start()
        await self.listens(inner)
        registry = CachedRegistry(inner, REACTOR)
        forgotten: list[object] = []
        self.addCleanup(
            registry.subscribe(lambda changed: None if changed else forgotten.append(changed))
        )
        with self.measured(f"{len(some)} cold tokens and workspaces, one by one"):
            await self.look_up(registry, some)
        await self.is_warm(registry, some, forgotten)
        now = datetime.now(UTC)
        ids = [each.id for each, _ in await self.look_up(registry, some)]
        await registry.touch_workspaces(dict.fromkeys((each for each, _ in some), now))
        await registry.touch_tokens(dict.fromkeys(ids, now))
        ((heard,),) = self.database.execute(
            "SELECT count(*) FROM workspaces WHERE last_heartbeat_at = %s", (now,)
        )
        self.assertEqual(heard, len(some))
        await self.is_warm(registry, some, forgotten)

    async def is_warm(
        self, registry: CachedRegistry, some: list[tuple[UUID, bytes]], forgotten: list[object]
    ) -> None:
        """
        Assert that no statement is sent, unless the cache was emptied because a busy machine could
        not prove that notifications arrive.

        :param forgotten: has one entry for each time; those before the last complete look-up are
            removed.
        """
        statements = self.statements()
        while True:
            statements.clear()
            before = len(forgotten)
            with self.measured(f"{len(some)} warm tokens and workspaces"):
                await self.look_up(registry, some)
            if not statements:
                break
            self.assertNotEqual(forgotten, [], statements)
            # What was emptied during this look-up is read again by the next one.
            del forgotten[:before]
        forgotten.clear()

    async def look_up(self, registry: Any, some: list[tuple[UUID, bytes]]) -> list[Any]:
        """:return: the token and the workspace of each."""
        found = []
        for workspace_id, digest in some:
            token = await registry.token(digest)
            workspace = await registry.workspace(token.workspace_id)
            self.assertEqual((workspace.id, workspace.inbound_secret), (workspace_id, "secret"))
            found.append((token, workspace))
        return found

    def statements(self) -> list[str]:
        """
        :return: a list that receives the statements sent from now on, except the listener's checks.
        """
        link = import_module("chatfiles.platform.registry.postgres.connection").PostgresConnection
        execute, sent = link.execute, []

        def record(self: Any, sql: str, *values: Any) -> Any:
            if "pg_trigger" not in sql:
                sent.append(sql)
            return execute(self, sql, *values)

        self.patch(link, "execute", record)
        return sent

    async def test_pages(self) -> None:
        """
        All workspaces are listed in pages, in order. The longest time that the reactor is blocked
        is reported.
        """
        await self.filled()
        registry = await self.start()
        expected = self.database.execute(
            "SELECT id FROM workspaces WHERE status <> 'removed' ORDER BY created_at, id"
        )
        pages, after, gaps = 0, None, Gaps()
        with self.measured(f"the pages of {WORKSPACES} workspaces"):
            while page := await registry.workspaces(limit=1001, after=after):
                self.assertEqual(str(page[-1].id), expected[min(pages + 1001, WORKSPACES) - 1][0])
                pages, after = pages + len(page), page[-1].id
        self.report(f"the reactor was held up for {1000 * gaps.longest():.0f} ms at most")
        self.assertEqual(pages, WORKSPACES)

    async def test_a_batch(self) -> None:
        """A full batch of heartbeats is written within the timeout of a call."""
        await self.filled()
        registry = await self.start()
        ids = self.database.execute("SELECT id FROM workspaces ORDER BY id LIMIT %s", (BATCH,))
        batch = dict.fromkeys((UUID(each) for (each,) in ids), datetime.now(UTC))
        with self.measured(f"{BATCH} heartbeats in a batch"):
            await registry.touch_workspaces(batch)

    # Measurements

    def measured(self, what: str) -> Measured:
        return Measured(what, self.report)

    def report(self, line: str) -> None:
        if SOAK:
            print(f"[{self._testMethodName}] {line}", file=sys.stderr)


class Measured:
    """Reports how long something took, and how much CPU time of this process."""

    def __init__(self, what: str, report: Any) -> None:
        self._what, self._report = what, report

    def __enter__(self) -> None:
        self._began, self._cpu = time.monotonic(), time.process_time()

    def __exit__(self, *_: object) -> None:
        took, cpu = time.monotonic() - self._began, time.process_time() - self._cpu
        self._report(f"{self._what}: {took:.3f} s, CPU here {cpu:.3f} s")


class Gaps:
    """Measures for how long the reactor is blocked."""

    def __init__(self) -> None:
        self._last = REACTOR.seconds()
        self._longest = 0.0
        self._loop = LoopingCall(self._tick)
        self._loop.start(0.002)

    def longest(self) -> float:
        """:return: the longest such time, in seconds."""
        self._loop.stop()
        return self._longest

    def _tick(self) -> None:
        now = REACTOR.seconds()
        self._longest = max(self._longest, now - self._last)
        self._last = now


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)
