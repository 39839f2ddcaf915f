"""
The embedded registry fulfils the contract, and handles faults of its file.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from chatfiles.errors import ConstraintViolated, RegistryUnavailable
from chatfiles.model import ALL_SCOPES, token_hash
from chatfiles.platform.registry import queries
from chatfiles.platform.registry.cache import CachedRegistry
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.platform.registry.sqlite.registry import SQLiteRegistry
from tests.contract.registry_case import FIRST, SECRET, THIRD, add_workspace, begun, every_call
from tests.contract.registry_third_party import ThirdPartyRegistryContract
from tests.platform.registry.sqlite.sqlite_case import REACTOR, SQLiteTestCase, ThreadedClock
from tests.support.patience import PATIENCE

#: The columns of the workspaces, without their id.
COLUMNS = (
    *("name", "url", "status", "delivery_mode", "platform_inbound_secret"),
    *("last_heartbeat_at", "created_at", "updated_at", "links_not_before"),
    *("next_inbound_secret", "next_secret_since", "channel_seen_at"),
)


class SQLiteRegistryTests(ThirdPartyRegistryContract, TestCase):
    """`SQLiteRegistry` fulfils the contract."""

    path: str

    def make_sqlite(self, **given: Any) -> SQLiteRegistry:
        if not hasattr(self, "path"):
            self.path = os.path.join(self.mktemp(), "registry.db")
            os.mkdir(os.path.dirname(self.path))
        values = {"timeout": 30.0, "poll_interval": 0.02} | given
        return SQLiteRegistry(self.path, clock=REACTOR, now=self.now, **values)

    def make_registry(self) -> IWorkspaceRegistry:
        return self.make_sqlite()

    async def cut_off(self) -> None:
        noticed: Deferred[None] = Deferred()

        def changed(workspace_id: UUID | None) -> None:
            if workspace_id is None and not noticed.called:
                noticed.callback(None)

        unsubscribe = self.registry.subscribe(changed)
        os.rename(self.path, self.path + ".away")
        await noticed
        unsubscribe()

    async def reconnect(self) -> None:
        os.rename(self.path + ".away", self.path)

    async def insert(self, table: str, **columns: object) -> None:
        marks = ", ".join("?" for _ in columns)
        with self.raw() as connection:
            connection.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})",
                [_stored(value) for value in columns.values()],
            )

    async def alter(self, statement: str) -> None:
        with self.raw() as connection:
            connection.execute(statement)

    async def settle(self) -> None:
        while not self.registry.watching:  # it polls the file for what `alter` has changed
            await deferLater(REACTOR, 0.005)

    async def read(self, statement: str) -> Sequence[Sequence[object]]:
        with self.raw() as connection:
            return connection.execute(statement).fetchall()

    async def demand(self, column: str) -> None:
        columns = ["theirs", *COLUMNS]
        columns[columns.index(column)] += " text NOT NULL"
        await self.alter("DROP TABLE workspaces")
        await self.alter(f"CREATE TABLE workspaces (id text PRIMARY KEY, {', '.join(columns)})")

    def raw(self) -> AbstractContextManager[sqlite3.Connection]:
        """Another program's connection."""
        return closing(sqlite3.connect(self.path, isolation_level=None))


class CachedSQLiteRegistryTests(SQLiteRegistryTests):
    """`CachedRegistry` over it fulfils the contract."""

    def make_registry(self) -> IWorkspaceRegistry:
        return CachedRegistry(super().make_registry(), REACTOR)


def _stored(value: object) -> object:
    if isinstance(value, UUID):
        return str(value)
    return value.isoformat() if isinstance(value, datetime) else value


class FileTests(SQLiteTestCase):
    """The file of the registry: its permissions, name and contents."""

    async def test_modes(self) -> None:
        """Only their owner can read the files, which contain secrets, whatever the umask is."""
        self.addCleanup(os.umask, os.umask(0))
        registry = await self.start()
        await add_workspace(registry)
        names = sorted(os.listdir(self.directory))
        self.assertEqual(names, ["registry.db", "registry.db-shm", "registry.db-wal"])
        for name in names:
            found = os.stat(os.path.join(self.directory, name))
            self.assertEqual(stat.S_IMODE(found.st_mode), 0o600, name)

    async def test_odd_name(self) -> None:
        """Characters in a path that are special in a URI are taken literally."""
        self.path = os.path.join(self.directory, "a?mode=memory#%41 é.db")
        registry = await self.start()
        await registry.register(FIRST, url=None, delivery_mode=None, create_name="x")
        await registry.close()
        # Connections that are closed at the same time may leave the log behind.
        names = {
            name.removesuffix("-wal").removesuffix("-shm") for name in os.listdir(self.directory)
        }
        self.assertEqual(names, {os.path.basename(self.path)})
        self.assertEqual(self.execute("SELECT id FROM workspaces"), [(str(FIRST),)])

    async def test_missing_directory(self) -> None:
        """While the registry cannot be created calls fail, and a later start succeeds."""
        os.rmdir(self.directory)
        registry = self.make()
        self.assertIsInstance(await self.fails(registry.start()), FileNotFoundError)
        await self.fails(registry.token(token_hash("token")))
        os.mkdir(self.directory)
        await registry.start()
        self.assertIsNone(await registry.token(token_hash("token")))

    async def test_read_only(self) -> None:
        """A file that cannot be written fails the start, not only the first change."""
        await (await self.start()).close()
        self.patch(os, "access", lambda path, mode, **_: False)
        self.assertIsInstance(await self.fails(self.make().start()), PermissionError)

    async def test_not_a_database(self) -> None:
        """A corrupt file fails the start, and is not overwritten."""
        write_file(self.path, b"no database" * 1000)
        registry = self.make()
        self.assertIsInstance(await self.fails(registry.start()), sqlite3.DatabaseError)
        self.assertEqual(read_file(self.path), b"no database" * 1000)
        (line,) = self.log()
        self.assertIn("file is not a database", line)
        self.assertIn(self.path, line)

    async def test_replaced(self) -> None:
        """
        If the file was renamed or replaced, calls fail, the new file is not written to, and the log
        says that a restart is needed.
        """
        registry = await self.start()
        await registry.register(FIRST, url=None, delivery_mode=None, create_name="x")
        os.rename(self.path, self.path + ".first")
        await self.fails(registry.workspace(FIRST))
        self.assertNotIn("registry.db", os.listdir(self.directory))
        write_file(self.path, b"")
        await self.fails(registry.workspace(FIRST))
        await self.fails(registry.touch_workspaces({FIRST: self.moment}))
        self.assertEqual(read_file(self.path), b"")
        self.assertIn("restart", "".join(self.log()))
        os.replace(self.path + ".first", self.path)
        self.assertIsNotNone(await registry.workspace(FIRST))

    async def test_settings(self) -> None:
        """
        The settings of SQLite make a revocation survive a power failure, and let readers read while
        a writer writes.
        """
        registry = await self.start()

        def read(db: sqlite3.Connection) -> list[object]:
            names = ("journal_mode", "synchronous", "foreign_keys", "query_only", "busy_timeout")
            return [db.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

        self.assertEqual(await registry._writer.call("", read), ["wal", 2, 1, 0, 1500])
        self.assertEqual(await registry._reader.call("", read), ["wal", 2, 1, 1, 1500])


class TroubleTests(SQLiteTestCase):
    """Errors of SQLite while the registry is in use."""

    async def test_rules_of_others_are_told(self) -> None:
        """
        If another program's constraint refuses a row the log names it, for the operator, who can
        change it.
        """
        registry = await self.start()
        self.execute("CREATE UNIQUE INDEX theirs ON workspaces (name)")
        await add_workspace(registry, FIRST)
        for _ in range(2):
            with self.assertRaises(ConstraintViolated):
                await add_workspace(registry, THIRD)
        await registry.workspace(FIRST)
        line = "takes no such row: create_workspace: UNIQUE constraint failed: workspaces.name"
        self.assertEqual([line in each for each in self.log()], [True, True])

    async def test_locked(self) -> None:
        """
        While another program has locked the database lookups succeed, and changes fail with
        `RegistryUnavailable`.
        """
        registry = await self.start(timeout=8)
        await registry.register(FIRST, url=None, delivery_mode=None, create_name="x")
        with self.raw() as connection:
            connection.execute("BEGIN IMMEDIATE")
            write = begun(registry.touch_workspaces({FIRST: self.moment}))
            self.assertIsNotNone(await registry.workspace(FIRST))
            self.assertFalse(write.called)
            cause = await self.fails(write)
        if cause is not None:  # on a busy machine the deadline may come first
            self.assertIn("locked", str(cause))
        await registry.touch_workspaces({FIRST: self.moment})
        trouble, over = self.log()
        self.assertIn(
            "(writer) is unavailable: touch_workspaces: OperationalError: database is", trouble
        )
        self.assertIn("SQLITE_BUSY", trouble)
        self.assertIn("responds again", over)

    async def test_full(self) -> None:
        """On a full disk a change fails with `RegistryUnavailable`, and nothing of it is stored."""
        registry = await self.start()
        await registry._writer.call(
            "", lambda db: db.execute("PRAGMA max_page_count = 1").fetchone()
        )
        call = add_workspace(registry, FIRST, name="n" * 10**6)
        self.assertIn("full", str(await self.fails(call)))
        self.assertIsNone(await registry.workspace(FIRST))
        await registry._writer.call(
            "", lambda db: db.execute("PRAGMA max_page_count = 0").fetchone()
        )
        await registry._writer.call(
            "", lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchone()
        )
        await registry.register(FIRST, url=None, delivery_mode=None, create_name="x")

    async def test_a_hurt_connection_is_replaced(self) -> None:
        """A connection that is broken is replaced, without a restart."""
        registry = await self.start()
        for lane in (registry._writer, registry._reader):
            await lane.call("", lambda db: db.close())
        await self.fails(registry.register(FIRST, url=None, delivery_mode=None, create_name="x"))
        await self.fails(registry.workspace(FIRST))
        await registry.register(FIRST, url=None, delivery_mode=None, create_name="x")
        self.assertIsNotNone(await registry.workspace(FIRST))

    async def test_nobody_comes_between(self) -> None:
        """
        No other process can write between the check for a live token and the creation of the first.
        """
        registry = await self.start()
        await registry.register(FIRST, url=None, delivery_mode=None, create_name="x")
        errors: list[str] = []
        look = queries.has_live_token

        async def look_and_be_overtaken(db: queries.Session, workspace_id: UUID) -> bool:
            found = await look(db, workspace_id)
            with closing(sqlite3.connect(self.path, timeout=0)) as other:
                try:
                    other.execute("UPDATE workspaces SET name = 'overtaken'")
                except sqlite3.OperationalError as error:
                    errors.append(str(error))
            return found

        self.patch(queries, "has_live_token", look_and_be_overtaken)
        await registry.create_token(
            FIRST, digest=b"", prefix="", scopes=ALL_SCOPES, name=None, only_first=True
        )
        self.assertEqual(errors, ["database is locked"])

    async def test_one_line_per_trouble(self) -> None:
        """An outage is logged once when it begins and once when it ends."""
        registry = await self.start()
        os.rename(self.path, self.path + ".away")
        for _ in range(3):
            await self.fails(registry.workspace(FIRST))
            await self.fails(registry.token(b""))
        os.rename(self.path + ".away", self.path)
        await registry.workspace(FIRST)
        await registry.workspace(FIRST)
        self.assertEqual(len(self.log()), 2)

    async def test_log_shows_no_secret(self) -> None:
        """Inbound secrets, tokens and their hashes are not logged with an error."""
        registry = await self.start()
        self.execute(
            "DROP TABLE workspace_auth_tokens",
            "DROP TABLE workspaces",
            "DROP TABLE chatfiles_keys",
            "DROP TABLE platform_nodes",
            "DROP TABLE workspace_channels",
            f"CREATE TABLE workspaces (id text PRIMARY KEY CHECK (id <> '{THIRD}'))",
        )
        calls = every_call(registry)
        del calls["check"]
        for call in calls.values():
            await self.fails(call())
        shown = repr(self.events)
        self.assertNotEqual(self.log(), [])
        self.assertNotIn(SECRET, shown)
        self.assertNotIn(repr(token_hash("token"))[2:-1], shown)

    async def test_deadline(self) -> None:
        """
        On a slow disk a call fails at the deadline; if its change is made later, subscribers are
        notified.
        """
        clock = ThreadedClock()
        registry = await self.start(clock=clock)
        await registry.register(FIRST, url=None, delivery_mode=None, create_name="x")
        told: list[UUID | None] = []
        self.addCleanup(registry.subscribe(told.append))
        running, go_on = threading.Event(), threading.Event()
        register = queries.register

        async def slow(*args: Any, **given: Any) -> Any:
            running.set()
            go_on.wait(PATIENCE)
            return await register(*args, **given)

        self.patch(queries, "register", slow)
        self.moment += timedelta(hours=1)
        call = registry.register(FIRST, url=None, delivery_mode=None, create_name=None)
        running.wait(PATIENCE)
        clock.advance(1.99)
        self.assertNoResult(call)
        clock.advance(0.02)
        self.failureResultOf(call, RegistryUnavailable)
        self.assertEqual(told.count(FIRST), 0)
        go_on.set()
        await registry.ensure_secret(FIRST, SECRET)
        self.assertEqual(told.count(FIRST), 2)
        found = await registry.workspace(FIRST)
        assert found is not None
        self.assertEqual(found.last_heartbeat_at, self.moment)


def write_file(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
