"""
The registry in PostgreSQL fulfils the contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from chatfiles.errors import BadRequest, Conflict
from chatfiles.model import ALL_SCOPES
from chatfiles.platform.registry.cache import CachedRegistry
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.platform.registry.postgres import open_postgres
from chatfiles.platform.registry.statements import POSTGRES
from chatfiles.rules.link_keys import new_link_key
from tests.contract.registry_case import FIRST, SECOND, add_workspace, begun
from tests.contract.registry_claims import claim
from tests.contract.registry_third_party import ThirdPartyRegistryContract
from tests.platform.registry.postgres.postgres_case import (
    REACTOR,
    PostgresTestCase,
    heard,
    pause,
    settled,
)
from tests.support.postgres_server import Database, server

if TYPE_CHECKING:
    from chatfiles.platform.registry.postgres.registry import PostgresRegistry

COLUMNS = {
    "workspaces": "name url status delivery_mode platform_inbound_secret last_heartbeat_at"
    " created_at updated_at",
    "workspace_auth_tokens": "prefix created_at last_used_at revoked_at scopes name",
}


class PostgresRegistryTests(ThirdPartyRegistryContract, TestCase):
    """`PostgresRegistry` fulfils the contract."""

    database: Database
    is_told_time = False

    async def setUp(self) -> None:  # type: ignore[override]
        self.marks: set[UUID] = set()
        await super().setUp()

    def make_postgres(self, **given: Any) -> PostgresRegistry:
        if not hasattr(self, "database"):
            self.database = Database(server())
            self.addCleanup(self.database.release)
        values = {"timeout": PostgresTestCase.registry_timeout} | given
        return open_postgres(self.database.url, reactor=REACTOR, now=self.now, **values)

    def make_registry(self) -> IWorkspaceRegistry:
        return self.make_postgres()

    def shared_seconds(self) -> int:
        ((seconds,),) = self.database.execute("SELECT floor(extract(epoch FROM clock_timestamp()))")
        return int(seconds)

    async def settle(self) -> None:
        mark = uuid4()
        self.marks.add(mark)
        await settled(self.registry, self.database, mark)

    def told(self) -> list[UUID | None]:
        told: list[UUID | None] = []

        def tell(workspace_id: UUID | None) -> None:
            if workspace_id not in self.marks:
                told.append(workspace_id)

        self.addCleanup(self.registry.subscribe(tell))
        return told

    async def cut_off(self) -> None:
        noticed = begun(heard(self.registry, lambda workspace_id: workspace_id is None))
        self.database.allow(False)
        await noticed

    async def reconnect(self) -> None:
        self.database.allow(True)

    async def insert(self, table: str, **columns: object) -> None:
        given = dict.fromkeys(COLUMNS[table].split()) | columns
        marks = ", ".join(["%s"] * len(given))
        self.database.execute(
            f"INSERT INTO {table} ({', '.join(given)}) VALUES ({marks})",
            [str(value) if name.endswith("id") else value for name, value in given.items()],
        )

    async def alter(self, statement: str) -> None:
        self.database.execute(statement)

    async def read(self, statement: str) -> Sequence[Sequence[object]]:
        rows: Sequence[Sequence[object]] = self.database.execute(statement)
        return rows

    async def demand(self, column: str) -> None:
        await self.alter(f"ALTER TABLE workspaces ADD COLUMN IF NOT EXISTS {column} text")
        await self.alter(f"ALTER TABLE workspaces ALTER COLUMN {column} SET NOT NULL")


class CachedPostgresRegistryTests(PostgresRegistryTests):
    """`CachedRegistry` over it fulfils the contract."""

    def make_registry(self) -> IWorkspaceRegistry:
        return CachedRegistry(self.make_postgres(), REACTOR)


class RaceTests(PostgresTestCase):
    """Two nodes that access the same row at once."""

    async def waiting(self, count: int) -> None:
        """Return when *count* backends wait for a lock."""
        waiting = 0
        while waiting < count:
            await pause(0.01)
            ((waiting,),) = self.database.server.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = %s AND wait_event_type = 'Lock'",
                (self.database.name,),
            )

    async def test_first_token(self) -> None:
        """Of two nodes that create a first token at once, one succeeds."""
        nodes = [await self.start(), await self.start()]
        await nodes[0].register(FIRST, url=None, delivery_mode=None, create_name="x")
        with self.database.connect() as other, other.cursor() as cursor:
            cursor.execute("BEGIN; SELECT FROM workspaces FOR UPDATE")
            calls = [
                node.create_token(
                    FIRST,
                    digest=b"%d" % n,
                    prefix="",
                    scopes=ALL_SCOPES,
                    name=None,
                    only_first=True,
                )
                for n, node in enumerate(nodes)
            ]
            await self.waiting(2)
        tokens = [token for token in await gatherResults(calls) if token is not None]
        self.assertEqual(len(tokens), 1)
        self.assertEqual(await nodes[0].tokens(FIRST), tokens)

    async def test_claim(self) -> None:
        """A claim fails, and changes nothing, if a token is created at the same time."""
        node = await self.start()
        await node.register(FIRST, url="http://old", delivery_mode=None, create_name="x")
        with self.database.connect() as other, other.cursor() as cursor:
            cursor.execute("BEGIN; SELECT FROM workspaces FOR NO KEY UPDATE")
            cursor.execute(
                "INSERT INTO workspace_auth_tokens (id, workspace_id, token_hash)"
                " VALUES (%s, %s, 'theirs')",
                (str(SECOND), str(FIRST)),
            )
            call = begun(claim(node, "t"))
            await self.waiting(1)
            cursor.execute("COMMIT")
        with self.assertRaises(Conflict):
            await call
        found = await node.workspace(FIRST)
        assert found is not None
        self.assertEqual(found.url, "http://old")
        self.assertEqual([token.id for token in await node.tokens(FIRST)], [SECOND])

    async def test_first_registration(self) -> None:
        """
        If another node creates the workspace during its first registration, the registration
        updates that row.
        """
        nodes = [await self.start(), await self.start()]
        with self.database.connect() as other, other.cursor() as cursor:
            cursor.execute(
                "BEGIN; INSERT INTO workspaces (id, name) VALUES (%s, 'theirs')", (str(FIRST),)
            )
            call = nodes[0].register(FIRST, url="http://a", delivery_mode=None, create_name="x")
            await self.waiting(1)
            cursor.execute("COMMIT")
        found = await call
        assert found is not None
        self.assertEqual((found.name, found.url, found.status), ("theirs", "http://a", "online"))
        self.assertEqual(await nodes[1].workspace(FIRST), found)

    async def test_touches_in_two_orders(self) -> None:
        """Two nodes that record the same uses at once, in different orders, do not deadlock."""
        nodes = [await self.start(), await self.start()]
        await nodes[0].register(FIRST, url=None, delivery_mode=None, create_name="x")
        self.database.execute(
            "INSERT INTO workspace_auth_tokens (id, workspace_id, token_hash)"
            " SELECT gen_random_uuid(), %s, sha256(n::text::bytea)"
            " FROM generate_series(1, 1200) AS n",
            (str(FIRST),),
        )
        ids = [token.id for token in await nodes[0].tokens(FIRST)]
        for seconds in range(3):
            at = self.moment + timedelta(seconds=seconds)
            batches = [dict.fromkeys(order, at) for order in (ids, reversed(ids))]
            await gatherResults(
                [node.touch_tokens(used) for node, used in zip(nodes, batches, strict=True)]
            )
        self.assertEqual({token.last_used_at for token in await nodes[1].tokens(FIRST)}, {at})

    async def test_first_key(self) -> None:
        """Of two nodes that make the first key at once, one waits and takes the other's."""
        nodes = [await self.start(), await self.start()]
        with self.database.connect() as other, other.cursor() as cursor:
            cursor.execute(f"BEGIN; {POSTGRES.keys_lock}")
            calls = [begun(node.ensure_link_key(new_link_key(self.moment))) for node in nodes]
            await self.waiting(2)
        first, second = await gatherResults(calls)
        self.assertEqual(first, second)
        self.assertEqual(list(await nodes[0].link_keys()), [first])

    async def test_changes_of_keys(self) -> None:
        """A rotation and a revocation wait, too."""
        node = await self.start()
        key = await node.ensure_link_key(new_link_key(self.moment))
        for change in (
            lambda: node.rotate_link_keys(new_link_key(self.moment)),
            lambda: node.revoke_link_key(key.id),
        ):
            with self.database.connect() as other, other.cursor() as cursor:
                cursor.execute(f"BEGIN; {POSTGRES.keys_lock}")
                call = begun(change())
                await self.waiting(1)
            await call

    async def test_clocks_of_nodes(self) -> None:
        """A node whose clock is slow revokes the links of one whose clock is fast."""
        fast = await self.start(now=lambda: self.moment + timedelta(days=10_000))
        slow = await self.start()
        await add_workspace(slow)
        made = await fast.link_clock(FIRST)
        await slow.revoke_links(FIRST)
        found = await fast.workspace(FIRST)
        assert made is not None
        assert found is not None
        self.assertLess(made.issued, found.links_not_before)

    async def test_text_that_cannot_be_stored(self) -> None:
        """
        A name that PostgreSQL cannot store (with NUL or a surrogate) is a `BadRequest`, and does
        not break the connection.
        """
        registry = await self.start()
        for name in ("a\0b", "\ud800"):
            with self.assertRaises(BadRequest):
                await add_workspace(registry, FIRST, name=name)
        self.assertIsNone(await registry.workspace(FIRST))
