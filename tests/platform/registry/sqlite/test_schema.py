"""
The schema of the embedded registry: versions, other programs' tables and rows.
"""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.model import ALL_SCOPES, Scope, token_hash
from chatfiles.platform.registry import rows
from chatfiles.platform.registry.migrations import Migration, SchemaTooNew, load, pending
from chatfiles.platform.registry.sqlite.schema import migrate
from chatfiles.platform.registry.statements import SQLITE
from tests.contract.registry_case import FIRST, SECOND, THIRD, add_workspace
from tests.platform.registry.sqlite.sqlite_case import SQLiteTestCase


class SchemaTests(SQLiteTestCase):
    """Databases that are older, newer, or another program's."""

    THEIRS = """
        CREATE TABLE workspaces (
            id text PRIMARY KEY, name text NOT NULL, url text, status text DEFAULT 'provisioning',
            delivery_mode text, platform_inbound_secret text, last_heartbeat_at text,
            created_at text DEFAULT CURRENT_TIMESTAMP, updated_at text DEFAULT CURRENT_TIMESTAMP,
            theirs text DEFAULT 'kept');
        CREATE TABLE workspace_auth_tokens (
            id text PRIMARY KEY, workspace_id text NOT NULL, token_hash blob NOT NULL,
            prefix text NOT NULL, created_at text DEFAULT CURRENT_TIMESTAMP, last_used_at text,
            revoked_at text {more});
    """

    async def test_tables_that_were_there(self) -> None:
        """A database of (S) can be used: its rows are kept, and its tokens have every scope."""
        for number, more in enumerate(("", ", scopes text", ", scopes text, name text")):
            self.path = os.path.join(self.directory, f"{number}.db")
            with self.raw() as connection:
                connection.executescript(self.THEIRS.format(more=more))
                connection.execute(
                    "INSERT INTO workspaces (id, name, url) VALUES (?, 'x', 'http://a')",
                    (str(FIRST),),
                )
                connection.execute(
                    "INSERT INTO workspace_auth_tokens (id, workspace_id, token_hash, prefix)"
                    " VALUES (?, ?, ?, 'tok')",
                    (str(SECOND), str(FIRST), token_hash("token")),
                )
            registry = await self.start()
            token = await registry.token(token_hash("token"))
            assert token is not None
            self.assertEqual((token.scopes, token.name), (ALL_SCOPES, None))
            self.assertIsNotNone(token.created_at)
            new = await registry.create_token(
                FIRST, digest=b"new", prefix="", scopes=frozenset({Scope.READ}), name="n"
            )
            self.assertEqual(await registry.token(b"new"), new)
            await registry.register(THIRD, url=None, delivery_mode=None, create_name="y")
            self.assertEqual(self.execute("SELECT DISTINCT theirs FROM workspaces"), [("kept",)])

    async def test_tables_that_lack_columns(self) -> None:
        """Another program's tables that lack columns can be used, and their rows are found."""
        with self.raw() as connection:
            connection.executescript(
                "CREATE TABLE workspaces (id text PRIMARY KEY);"
                "CREATE TABLE workspace_auth_tokens (id text, workspace_id text, token_hash blob);"
            )
            connection.execute("INSERT INTO workspaces VALUES (?)", (str(FIRST),))
            connection.execute(
                "INSERT INTO workspace_auth_tokens VALUES (?, ?, ?)",
                (str(SECOND), str(FIRST), token_hash("token")),
            )
        registry = await self.start()
        self.assertIsNotNone(await registry.workspace(FIRST))
        self.assertIsNotNone(await registry.token(token_hash("token")))
        await add_workspace(registry, THIRD)
        self.assertEqual([each.id for each in await registry.workspaces(limit=9)], [FIRST, THIRD])
        self.assertIs(await registry.remove_workspace(FIRST), True)

    async def test_versions_are_recorded(self) -> None:
        """A migration is applied once, not at each start."""
        registry = await self.start()
        await registry.close()
        self.moment += timedelta(days=1)
        await (await self.start()).close()
        found = self.execute("SELECT version, applied_at FROM chatfiles_schema")
        moments = ["2026-03-01T12:00:00.000000+00:00"] * len(load("sqlite"))
        self.assertEqual(found, list(enumerate(moments, 1)))

    async def test_tables(self) -> None:
        """The columns have the names that other programs rely on (reference/registry, "Tables")."""
        await (await self.start()).close()
        expected = {
            "workspaces": "id name url status delivery_mode platform_inbound_secret"
            " last_heartbeat_at created_at updated_at links_not_before"
            " next_inbound_secret next_secret_since channel_seen_at",
            "workspace_auth_tokens": "id workspace_id token_hash prefix created_at last_used_at"
            " revoked_at scopes name",
            "chatfiles_keys": "id purpose key created_at signs_until verifies_until",
            "platform_nodes": "id url seen_at",
            "workspace_channels": "workspace_id node_id since",
        }
        for table, columns in expected.items():
            found = self.execute(f"SELECT name FROM pragma_table_info('{table}')")
            self.assertEqual([name for (name,) in found], columns.split())

    async def test_what_is_stored(self) -> None:
        """
        Rows are stored so that other programs can read them; of a token only its hash is stored.
        """
        registry = await self.start()
        await add_workspace(registry, FIRST, digest=token_hash("token"))
        now = "2026-03-01T12:00:00.000000+00:00"
        self.assertEqual(
            self.execute("SELECT id, status, created_at, updated_at FROM workspaces"),
            [(str(FIRST), "provisioning", now, now)],
        )
        self.assertEqual(
            self.execute(
                "SELECT workspace_id, token_hash, scopes, created_at FROM workspace_auth_tokens"
            ),
            [(str(FIRST), token_hash("token"), "agent read write", now)],
        )

    async def test_lookups_use_indexes(self) -> None:
        """No lookup reads a whole table, and no page of a list sorts it."""
        await (await self.start()).close()
        self.execute("ALTER TABLE workspace_auth_tokens ADD COLUMN kind text")
        for name in (
            *("workspace", "workspaces", "workspaces_after"),
            *("token", "token_any", "token_any_instance"),
        ):
            plan = self.plan(getattr(SQLITE, name))
            self.assertNotIn("TEMP B-TREE", plan, name)
            self.assertNotRegex(plan, r"SCAN (?!\w+ USING)", name)
        # Pages skip removed workspaces without reading each.
        pages = "workspaces USING INDEX chatfiles_workspaces_live_by_age"
        self.assertIn(f"SCAN {pages}", self.plan(SQLITE.workspaces))
        self.assertIn(f"SEARCH {pages}", self.plan(SQLITE.workspaces_after))
        self.assertIn("USING INDEX chatfiles_tokens_by_workspace", self.plan(SQLITE.tokens))

    def plan(self, sql: str) -> str:
        """:return: SQLite's query plan for *sql*."""
        values = dict.fromkeys(("id", "digest", "workspace_id", "age", "limit"), "1")
        with self.raw() as connection:
            rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)
            return "; ".join(str(row[-1]) for row in rows)

    async def test_newer(self) -> None:
        """
        A registry does not use a schema that is newer than itself, and the error names the version.
        """
        await (await self.start()).close()
        self.execute("INSERT INTO chatfiles_schema VALUES (7, '2030-01-01')")
        registry = self.make()
        with self.assertRaises(SchemaTooNew) as caught:
            await registry.start()
        self.assertIn("schema version 7", str(caught.exception))
        self.assertIn("upgrade chatfiles", str(caught.exception))
        self.assertIsInstance(await self.fails(registry.workspace(FIRST)), SchemaTooNew)

    async def test_rows_that_are_none(self) -> None:
        """
        Another program's rows without a valid id are ignored, and other invalid values do not break
        the list.
        """
        registry = await self.start()
        self.execute(
            "PRAGMA foreign_keys = OFF",
            "INSERT INTO workspaces (id) VALUES ('not-a-uuid'), (''), (x'00')",
            f"INSERT INTO workspaces (id) VALUES ('{str(SECOND).upper()}')",
            f"INSERT INTO workspaces (id, name, created_at, last_heartbeat_at)"
            f" VALUES ('{FIRST}', CAST(x'61ff' AS text), 'yesterday', 12)",
            "INSERT INTO workspace_auth_tokens (id, workspace_id, token_hash, created_at)"
            f" VALUES ('x', '{FIRST}', x'01', ''), ('{THIRD}', '{FIRST}', x'02', 'Z')",
            "INSERT INTO workspace_auth_tokens (id, workspace_id, token_hash)"
            f" VALUES ('{SECOND}', 'not-a-uuid', x'03')",
        )
        (found,) = await registry.workspaces(limit=100)
        self.assertEqual((found.id, found.name, found.last_heartbeat_at), (FIRST, "a\ufffd", None))
        self.assertIsNone(await registry.token(b"\x01"))
        self.assertIsNone(await registry.token(b"\x03"))
        (token,) = await registry.tokens(FIRST)
        self.assertEqual((token.id, token.created_at), (THIRD, None))


class MigrationTests(SynchronousTestCase):
    """Versions of the schema."""

    def setUp(self) -> None:
        self.database = sqlite3.connect(":memory:", isolation_level=None)
        self.addCleanup(self.database.close)
        self.now = datetime(2026, 3, 1, tzinfo=UTC)

    def tables(self) -> list[str]:
        found = self.database.execute("SELECT name FROM sqlite_master ORDER BY name")
        return [name for (name,) in found]

    def test_numbered(self) -> None:
        """The package contains every migration; they are numbered from 1, without gaps."""
        for dialect in ("sqlite",):
            found = load(dialect)
            self.assertEqual([each.version for each in found], list(range(1, len(found) + 1)))
            self.assertEqual(found[0].name, "workspaces")

    def test_pending(self) -> None:
        """
        Exactly the migrations after the database's version are pending; a newer version is an
        error.
        """
        steps = [Migration(n, "", "") for n in (1, 2, 3)]
        self.assertEqual(pending(steps, 0), steps)
        self.assertEqual(pending(steps, 2), steps[2:])
        self.assertEqual(pending(steps, 3), [])
        self.assertRaises(SchemaTooNew, pending, steps, 4)

    def test_in_steps(self) -> None:
        """A later version applies only its new migrations to an older database."""
        one = Migration(1, "", "CREATE TABLE a (x);\n-- a; comment\nCREATE TABLE b (y);")
        two = Migration(2, "", "ALTER TABLE a ADD COLUMN z;\nCREATE INDEX i ON a (z)")
        migrate(self.database, [one], self.now)
        self.assertEqual(self.tables(), ["a", "b", "chatfiles_schema"])
        migrate(self.database, [one, two], self.now)
        self.assertEqual(self.tables(), ["a", "b", "chatfiles_schema", "i"])
        found = self.database.execute("SELECT version FROM chatfiles_schema").fetchall()
        self.assertEqual(found, [(1,), (2,)])

    def test_all_or_nothing(self) -> None:
        """A migration that fails leaves nothing behind, so that a later start can apply it."""
        steps = [
            Migration(1, "", "CREATE TABLE a (x);"),
            Migration(2, "", "CREATE TABLE b (x); CREATE TABLE b (x);"),
        ]
        self.assertRaises(sqlite3.Error, migrate, self.database, steps, self.now)
        self.assertEqual(self.tables(), [])
        self.assertFalse(self.database.in_transaction)


class RowTests(SynchronousTestCase):
    """Conversion of rows to values and back."""

    def test_moment_of(self) -> None:
        """Timestamps that other programs write are parsed; a value that is not one is ``None``."""
        noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
        read: tuple[object, ...] = (
            "2026-03-01T12:00:00.000000+00:00",
            "2026-03-01 12:00:00",
            "2026-03-01T12:00:00Z",
            "2026-03-01 14:00:00+02:00",
            noon.replace(tzinfo=None),
            noon,
        )
        for value in read:
            self.assertEqual(rows.parse_time(value), noon, value)
        unread: tuple[object, ...] = (
            *(None, "", "yesterday", 12, b"2026-03-01", "2026-13-01"),
            *("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"),
        )
        for value in unread:
            self.assertIsNone(rows.parse_time(value), value)

    def test_naive_moment(self) -> None:
        """A time without a zone is rejected, and not stored as UTC."""
        self.assertRaises(ValueError, rows.format_time, datetime(2026, 3, 1))  # noqa: DTZ001

    @given(st.datetimes(timezones=st.timezones()), st.datetimes(timezones=st.timezones()))
    def test_moments_compare_as_text(self, a: datetime, b: datetime) -> None:
        """
        Timestamps compare as text like the moments they denote: SQL compares them, and must not set
        a last use back.
        """
        try:
            one, other = rows.format_time(a), rows.format_time(b)
        except OverflowError:
            return
        self.assertEqual(one < other, rows.utc(a) < rows.utc(b))
        self.assertEqual(rows.parse_time(one), rows.utc(a))

    @given(st.frozensets(st.sampled_from(Scope)))
    def test_scopes(self, scopes: frozenset[Scope]) -> None:
        """A set of scopes that is written is read as the same set."""
        self.assertEqual(rows.parse_scopes(rows.format_scopes(scopes)), scopes)

    @given(st.one_of(st.text(), st.binary(), st.integers(), st.floats()))
    def test_scopes_of_anything(self, value: object) -> None:
        """A value other than NULL grants only scopes that it names."""
        known = frozenset(Scope) if value is None else rows.parse_scopes(value)
        words = value.split() if isinstance(value, str) else []
        self.assertLessEqual({scope.value for scope in known}, set(words))

    @given(
        st.one_of(
            st.text(),
            st.uuids().map(str),
            st.uuids().map(lambda found: str(found).upper()),
            st.builds("{}{}{}".format, st.text("a {", max_size=1), st.uuids(), st.text("a }\n")),
        )
    )
    def test_uuid_of(self, text: str) -> None:
        """Only an id in canonical form is accepted, because a row is found only by that form."""
        found = rows.stored_uuid(text)
        self.assertEqual(found is not None, _is_canonical(text))
        if found is not None:
            self.assertEqual(str(found), text)


def _is_canonical(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
