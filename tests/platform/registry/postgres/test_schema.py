"""
The schema in PostgreSQL: versions, tables and rows of other programs, and notifications of their
changes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable
from uuid import UUID

from twisted.internet.defer import gatherResults
from twisted.trial.unittest import SynchronousTestCase

import chatfiles
from chatfiles.errors import BadRequest, ConstraintViolated, Misconfigured, RegistryUnavailable
from chatfiles.model import ALL_SCOPES, Scope, token_hash
from chatfiles.platform.registry.migrations import SchemaTooNew, load
from tests.contract.registry_case import (
    FIRST,
    SECOND,
    SECRET,
    THIRD,
    add_workspace,
    begun,
    every_call,
)
from tests.platform.registry.postgres.postgres_case import PostgresTestCase, heard, settled

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(chatfiles.__file__)))
#: As in existing databases: an enum that lacks values of chatfiles, and none of its columns.
THEIRS = """
    CREATE TYPE workspace_status AS ENUM ('provisioning', 'online', 'offline', 'failed');
    CREATE TABLE workspaces (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name varchar(255) NOT NULL,
        status workspace_status NOT NULL DEFAULT 'provisioning', url text,
        theirs text DEFAULT 'kept', created_at timestamptz DEFAULT now(),
        updated_at timestamptz DEFAULT now());
    CREATE TABLE workspace_auth_tokens (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
        token_hash bytea NOT NULL, prefix text NOT NULL, created_at timestamptz DEFAULT now(),
        last_used_at timestamptz, revoked_at timestamptz);
    CREATE UNIQUE INDEX their_hashes ON workspace_auth_tokens (token_hash);
"""
#: What a newer version of their platform does to these tables, also after chatfiles has used them.
THEIR_UPGRADES = """
    ALTER TABLE workspaces ADD COLUMN IF NOT EXISTS delivery_mode TEXT NOT NULL DEFAULT 'push'
        CHECK (delivery_mode IN ('push', 'poll'));
    ALTER TABLE workspace_auth_tokens
        ADD COLUMN IF NOT EXISTS kind TEXT NOT NULL DEFAULT 'instance';
    CREATE TYPE newer_status AS ENUM ('provisioning', 'online', 'offline', 'removed', 'paused');
    ALTER TABLE workspaces ALTER COLUMN status DROP DEFAULT;
    ALTER TABLE workspaces ALTER COLUMN status TYPE newer_status
        USING status::text::newer_status;
    ALTER TABLE workspaces ALTER COLUMN status SET DEFAULT 'provisioning'::newer_status;
    CREATE UNIQUE INDEX their_names ON workspaces (name) WHERE status != 'removed';
"""


def manual() -> str:
    """:return: the manual's page about PostgreSQL."""
    with open(os.path.join(ROOT, "docs", "howto", "postgresql.rst"), encoding="utf-8") as file:
        return file.read()


class TheirTablesTests(PostgresTestCase):
    """A database that already has tables."""

    def theirs(self) -> None:
        self.database.execute(THEIRS)
        self.database.execute(
            "INSERT INTO workspaces (id, name, url) VALUES (%s, 'x', 'http://a')", (str(FIRST),)
        )
        self.database.execute(
            "INSERT INTO workspace_auth_tokens (workspace_id, token_hash, prefix)"
            " VALUES (%s, %s, 'tok')",
            (str(FIRST), token_hash("token")),
        )

    async def test_they_keep_working(self) -> None:
        """A database of (S) can be used: its rows are kept, and its tokens have every scope."""
        self.theirs()
        registry = await self.start()
        token = await registry.token(token_hash("token"))
        assert token is not None
        self.assertEqual((token.scopes, token.name), (ALL_SCOPES, None))
        new = await registry.create_token(
            FIRST, digest=b"new", prefix="", scopes=frozenset({Scope.READ}), name="n"
        )
        self.assertEqual(await registry.token(b"new"), new)
        self.assertEqual(await registry.ensure_secret(FIRST, SECRET), SECRET)
        await add_workspace(registry, SECOND, name="y")
        await registry.register(SECOND, url=None, delivery_mode=None, create_name=None)
        await registry.register(THIRD, url=None, delivery_mode=None, create_name="z")
        self.assertIs(await registry.remove_workspace(FIRST), True)
        self.assertIsNone(await registry.token(token_hash("token")))
        self.assertIsNone(await registry.workspace(FIRST))
        found = self.database.execute("SELECT status::text, theirs FROM workspaces ORDER BY id")
        self.assertEqual(found, [("removed", "kept"), ("online", "kept"), ("online", "kept")])

    async def test_their_upgrades(self) -> None:
        """
        Their platform can be upgraded after chatfiles has migrated their tables, and a node that
        runs meanwhile continues to work.
        """
        self.theirs()
        self.database.execute(
            "ALTER TABLE workspaces ALTER status DROP DEFAULT,"
            " ALTER status TYPE text USING status::text, ALTER status SET DEFAULT 'provisioning';"
            "DROP TYPE workspace_status"
        )
        registry = await self.start()
        self.database.execute(THEIR_UPGRADES)
        found = self.database.execute(
            "SELECT is_nullable, column_default FROM information_schema.columns"
            " WHERE table_name = 'workspaces' AND column_name = 'delivery_mode'"
        )
        self.assertEqual(found, [("NO", "'push'::text")])
        import psycopg2  # noqa: PLC0415 - an extra

        for word in ("'pull'", "NULL"):
            with self.assertRaises(psycopg2.IntegrityError):
                self.database.execute(f"UPDATE workspaces SET delivery_mode = {word}")
        for call in every_call(registry).values():
            await call()
        self.assertEqual([each.id for each in await registry.workspaces(limit=9)], [SECOND, THIRD])

    async def test_delivery_mode_of_an_earlier_version(self) -> None:
        """The statements of the manual put right a column that an earlier version added."""
        self.theirs()
        self.database.execute("ALTER TABLE workspaces ADD delivery_mode text")
        registry = await self.start()
        await add_workspace(registry, SECOND, delivery_mode="poll", name="y")
        statements = re.findall(r"^ +(.* workspaces .*delivery_mode.*;)$", manual(), re.MULTILINE)
        self.assertEqual(len(statements), 4)
        for statement in statements:
            self.database.execute(statement)
        modes = [each.delivery_mode for each in await registry.workspaces(limit=9)]
        self.assertEqual(sorted(map(str, modes)), ["poll", "push"])
        added = await add_workspace(registry, THIRD, name="z")
        self.assertEqual(added.delivery_mode, "push")
        with self.assertRaises(ConstraintViolated):
            await registry.register(SECOND, url=None, delivery_mode="pull", create_name=None)

    async def test_an_index_of_an_earlier_version(self) -> None:
        """
        In a table of a third party, the index that an earlier version made is dropped: with it,
        they could not change the type of the status.
        """
        self.theirs()
        await (await self.start()).close()
        self.database.execute(
            "DELETE FROM chatfiles_schema WHERE version > 5;"
            "CREATE INDEX chatfiles_workspaces_live_by_age ON workspaces (id)"
        )
        await self.start()
        found = self.database.execute(
            "SELECT FROM pg_indexes WHERE indexname = 'chatfiles_workspaces_live_by_age'"
        )
        self.assertEqual(found, [])

    async def test_tables_that_lack_columns(self) -> None:
        """
        Another program's tables that lack columns can be used: their rows are found, and can be
        changed.
        """
        self.theirs()
        self.database.execute(
            "ALTER TABLE workspaces DROP name, DROP status, DROP url, DROP created_at,"
            " DROP updated_at;"
            "ALTER TABLE workspace_auth_tokens DROP prefix, DROP created_at, DROP last_used_at,"
            " DROP revoked_at"
        )
        registry = await self.start()
        self.assertIsNotNone(await registry.workspace(FIRST))
        self.assertIsNotNone(await registry.token(token_hash("token")))
        await add_workspace(registry, SECOND)
        self.assertEqual([each.id for each in await registry.workspaces(limit=9)], [FIRST, SECOND])
        self.assertIs(await registry.remove_workspace(FIRST), True)
        self.assertIsNone(await registry.token(token_hash("token")))

    async def test_values_that_they_do_not_take(self) -> None:
        """
        A value that an enum or varchar does not accept is a `BadRequest`, and is not logged as an
        outage.
        """
        self.theirs()
        self.database.execute(
            "CREATE TYPE mode AS ENUM ('push', 'poll');"
            "ALTER TABLE workspaces ADD delivery_mode mode, ALTER url TYPE varchar(20)"
        )
        registry = await self.start()

        async def refused(call: Awaitable[object]) -> None:
            with self.assertRaises(BadRequest) as caught:
                await call
            self.assertEqual(caught.exception.code, "invalid_field")

        for create_name in (None, "x"):
            for url, mode in ((None, "neither"), ("http://" + "a" * 20, "push")):
                place = {"url": url, "delivery_mode": mode}
                for each in (FIRST, SECOND) if create_name else (FIRST,):
                    await refused(registry.register(each, **place, create_name=create_name))
                await refused(add_workspace(registry, THIRD, **place))
        await refused(add_workspace(registry, THIRD, name="x" * 256))
        self.assertEqual([line for line in self.log() if "unavailable" in line], [])
        found = await registry.register(
            FIRST, url="http://b", delivery_mode="poll", create_name=None
        )
        assert found is not None
        self.assertEqual((found.url, found.delivery_mode), ("http://b", "poll"))
        self.assertEqual(len(await registry.workspaces(limit=10)), 1)

    async def test_rules_that_they_have(self) -> None:
        """
        If another program's constraint refuses a row the log names it, for the operator, who can
        change it.
        """
        self.theirs()
        self.database.execute(
            "ALTER TABLE workspaces ADD CONSTRAINT one_name UNIQUE (name);"
            "ALTER TABLE workspaces ADD owner text NOT NULL DEFAULT '';"
            "ALTER TABLE workspaces ALTER owner DROP DEFAULT"
        )
        registry = await self.start()
        with self.assertRaises(Misconfigured):
            await add_workspace(registry, SECOND)
        self.database.execute("ALTER TABLE workspaces ALTER owner SET DEFAULT ''")
        with self.assertRaises(ConstraintViolated):
            await add_workspace(registry, SECOND, name="x")
        missing, taken = [line for line in self.log() if "takes no such row" in line]
        self.assertIn('create_workspace: null value in column "owner"', missing)
        self.assertIn("create_workspace: duplicate key value violates unique constraint", taken)
        self.assertIn("one_name", taken)

    async def test_indexes_are_not_made_twice(self) -> None:
        """No second index of the same kind is created: each costs another write for each token."""
        self.theirs()
        await self.start()
        found = self.database.execute(
            "SELECT indexname FROM pg_indexes WHERE tablename = 'workspace_auth_tokens' ORDER BY 1"
        )
        self.assertEqual(
            [name for (name,) in found],
            ["chatfiles_tokens_by_workspace", "their_hashes", "workspace_auth_tokens_pkey"],
        )

    async def test_pages_of_an_enum(self) -> None:
        """
        Nodes start if the status is an enum: the index that depends on its values is left out.
        """
        for number in range(2):  # also if the enum has all the values already
            if number:
                self.database.execute("DROP TABLE chatfiles_schema")
            else:
                self.theirs()
            registry = await self.start()
            self.assertEqual([each.id for each in await registry.workspaces(limit=9)], [FIRST])
        found = self.database.execute(
            "SELECT FROM pg_indexes WHERE indexname = 'chatfiles_workspaces_live_by_age'"
        )
        self.assertEqual(found, [])

    async def test_nodes_that_start_at_once(self) -> None:
        """Nodes that start at once on a new database all succeed, and apply each migration once."""
        self.theirs()
        registries = [self.make() for _ in range(3)]
        await gatherResults([registry.start() for registry in registries])
        for registry in registries:
            self.assertIsNotNone(await registry.workspace(FIRST))
        versions = self.database.execute("SELECT version FROM chatfiles_schema ORDER BY 1")
        self.assertEqual(versions, [(each.version,) for each in load("postgresql")])

    async def test_a_table_in_use(self) -> None:
        """
        A migration does not wait long for a busy table, because other statements queue behind it;
        it is tried again.
        """
        self.theirs()
        registry = self.make()
        with self.database.connect() as other, other.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE workspaces IN ACCESS SHARE MODE")
            cause = await self.fails(registry.start())
            self.assertIn("0001_workspaces: canceling statement due to lock timeout", cause)
        self.assertIsNotNone(await self.recovers(lambda: registry.workspace(FIRST)))

    def role(self) -> str:
        """:return: a role that may connect, with the password ``x``."""
        user = f"user_of_{self.database.name}"
        self.database.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'x'")
        self.addCleanup(self.database.execute, f"DROP ROLE {user}")
        self.addCleanup(self.database.execute, f"DROP OWNED BY {user}")
        return user

    async def test_without_the_right_to(self) -> None:
        """
        If a role may not create tables calls fail with `RegistryUnavailable`: the registry does not
        seem empty. They succeed when the role has the privileges that they need.
        """
        self.database.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        user = self.role()
        head, _, tail = self.database.url.rpartition("@")
        registry = self.make(f"{head.partition('://')[0]}://{user}:x@{tail}")
        self.assertIn("permission denied", await self.fails(registry.start()))
        await (await self.start()).register(FIRST, url=None, delivery_mode=None, create_name="x")
        self.database.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}")
        self.assertIsNotNone(await self.recovers(lambda: registry.workspace(FIRST)))
        self.assertIn(
            "permission denied", await self.fails(registry.touch_workspaces({FIRST: self.moment}))
        )
        self.database.execute(
            f"GRANT INSERT, UPDATE ON workspaces, workspace_auth_tokens TO {user}"
        )
        await registry.touch_workspaces({FIRST: self.moment})
        await registry.create_token(
            FIRST, digest=b"", prefix="", scopes=ALL_SCOPES, name=None, only_first=True
        )
        self.assertIs(await registry.remove_workspace(FIRST), True)

    async def test_grants_of_the_manual(self) -> None:
        """A role with the privileges that the manual grants can make every call."""
        grants = re.findall(r"^ +(GRANT .* TO) chatfiles;$", manual(), re.MULTILINE)
        self.assertEqual(len(grants), 3)
        await (await self.start()).close()
        user = self.role()
        self.database.execute("".join(f"{grant} {user};" for grant in grants))
        head, _, tail = self.database.url.rpartition("@")
        registry = await self.start(f"{head.partition('://')[0]}://{user}:x@{tail}")
        await self.listens(registry)
        await registry.register(FIRST, url=None, delivery_mode=None, create_name="x")
        for call in every_call(registry).values():
            await call()


class VersionTests(PostgresTestCase):
    """Versions of the schema."""

    async def test_tables(self) -> None:
        """The columns have the names that other programs rely on (reference/registry, "Tables")."""
        await self.start()
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
            found = self.database.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
                " ORDER BY ordinal_position",
                (table,),
            )
            self.assertEqual([name for (name,) in found], columns.split())

    async def test_recorded_once(self) -> None:
        """A migration is applied once, not at each start."""
        await (await self.start()).close()
        before = self.database.execute("SELECT * FROM chatfiles_schema")
        await (await self.start()).close()
        self.assertEqual(self.database.execute("SELECT * FROM chatfiles_schema"), before)

    async def test_applied_again(self) -> None:
        """Migrations that are applied again restore what a dump left out or an operator dropped."""
        await (await self.start()).close()
        self.database.execute(
            "DROP FUNCTION chatfiles_token_changed CASCADE;"
            " DROP INDEX chatfiles_workspaces_by_age, chatfiles_tokens_by_workspace,"
            " chatfiles_workspaces_live_by_age;"
            " DELETE FROM chatfiles_schema"
        )
        registry = await self.start()
        await self.listens(registry)
        found = self.database.execute("SELECT version FROM chatfiles_schema ORDER BY 1")
        self.assertEqual(found, [(each.version,) for each in load("postgresql")])

    async def test_newer(self) -> None:
        """
        A registry does not use a schema that is newer than itself, and the error names the version.
        """
        await (await self.start()).close()
        self.database.execute("INSERT INTO chatfiles_schema VALUES (70, now())")
        registry = self.make()
        with self.assertRaises(SchemaTooNew) as caught:
            await registry.start()
        self.assertIn("schema version 70", str(caught.exception))
        with self.assertRaises(RegistryUnavailable):
            await registry.workspace(FIRST)

    async def test_all_or_nothing(self) -> None:
        """A migration that fails leaves nothing behind, and can be applied by a later start."""
        self.database.execute("CREATE VIEW workspace_auth_tokens AS SELECT 1 AS id")
        registry = self.make()
        self.assertIn("0001_workspaces", await self.fails(registry.start()))
        found = self.database.execute("SELECT to_regclass('workspaces')::text")
        self.assertEqual(found, [(None,)])
        self.database.execute("DROP VIEW workspace_auth_tokens")
        self.assertIsNone(await self.recovers(lambda: registry.workspace(FIRST)))

    async def test_what_is_stored(self) -> None:
        """
        Rows are stored so that other programs can read them; of a token only its hash is stored.
        """
        registry = await self.start()
        await add_workspace(registry, FIRST, digest=token_hash("token"))
        found = self.database.execute("SELECT status, created_at, updated_at FROM workspaces")
        self.assertEqual(found, [("provisioning", self.moment, self.moment)])
        ((digest, scopes, created_at),) = self.database.execute(
            "SELECT token_hash, scopes, created_at FROM workspace_auth_tokens"
        )
        self.assertEqual(bytes(digest), token_hash("token"))
        self.assertEqual((scopes, created_at), ("agent read write", self.moment))

    async def test_moments_that_python_has_not(self) -> None:
        """
        Timestamps that Python cannot represent are read as ``None``, and do not break the list.
        """
        registry = await self.start()
        for moment in ("infinity", "-infinity", "0044-03-15 BC", "20000-01-01"):
            self.database.execute(
                "INSERT INTO workspaces (id, last_heartbeat_at, created_at)"
                " VALUES (gen_random_uuid(), %s, %s)",
                (moment, moment),
            )
        found = await registry.workspaces(limit=100)
        self.assertEqual([each.last_heartbeat_at for each in found], [None] * 4)
        paged = [*await registry.workspaces(limit=1)]
        while page := await registry.workspaces(limit=1, after=paged[-1].id):
            paged += page
        self.assertEqual(paged, list(found))


class ToldTests(PostgresTestCase):
    """Changes that an operator makes with plain SQL."""

    async def test_plain_sql(self) -> None:
        """
        Subscribers are notified when plain SQL revokes a token or changes a URL, but not when it
        records a heartbeat or a use.
        """
        registry = await self.start()
        await registry.register(FIRST, url=None, delivery_mode=None, create_name="x")
        await registry.register(SECOND, url=None, delivery_mode=None, create_name="y")
        await settled(registry, self.database)
        steps: list[tuple[str, list[UUID | None]]] = [
            (f"UPDATE workspaces SET url = 'http://b' WHERE id = '{FIRST}'", [FIRST]),
            ("UPDATE workspaces SET last_heartbeat_at = now(), updated_at = now()", []),
            (f"UPDATE workspaces SET url = url || '', name = 'z' WHERE id = '{FIRST}'", [FIRST]),
            (f"UPDATE workspaces SET status = 'offline' WHERE id = '{FIRST}'", [FIRST]),
            (f"UPDATE workspaces SET delivery_mode = 'push' WHERE id = '{FIRST}'", [FIRST]),
            (f"UPDATE workspaces SET delivery_mode = 'push' WHERE id = '{FIRST}'", []),
            (
                f"UPDATE workspaces SET platform_inbound_secret = 'x' WHERE id = '{FIRST}'",
                [FIRST],
            ),
            (f"UPDATE workspaces SET links_not_before = 1 WHERE id = '{FIRST}'", [FIRST]),
            (f"UPDATE workspaces SET links_not_before = 1 WHERE id = '{FIRST}'", []),
            (f"UPDATE workspaces SET next_inbound_secret = 'n' WHERE id = '{FIRST}'", [FIRST]),
            (f"UPDATE workspaces SET next_secret_since = now() WHERE id = '{FIRST}'", []),
            (f"UPDATE workspaces SET channel_seen_at = now() WHERE id = '{FIRST}'", [FIRST]),
            (f"UPDATE workspaces SET channel_seen_at = now() WHERE id = '{FIRST}'", []),
            (f"INSERT INTO platform_nodes VALUES ('{THIRD}', 'http://a', now())", []),
            (f"INSERT INTO workspace_channels VALUES ('{FIRST}', '{THIRD}', now())", [FIRST]),
            ("DELETE FROM workspace_channels", [FIRST]),
            ("TRUNCATE workspace_channels", [None]),
            (
                "INSERT INTO chatfiles_keys VALUES ('5eed0001', 'link', 'x', now(), now(), now())",
                [None],
            ),
            ("UPDATE chatfiles_keys SET verifies_until = now()", [None]),
            ("DELETE FROM chatfiles_keys", [None]),
            ("TRUNCATE chatfiles_keys", [None]),
            (
                "ALTER TABLE workspaces ADD COLUMN theirs text;"
                " UPDATE workspaces SET theirs = 'x', last_heartbeat_at = now()",
                [],
            ),
            (
                "ALTER TABLE workspaces ALTER COLUMN url TYPE varchar(99);"
                f" UPDATE workspaces SET url = 'http://c' WHERE id = '{FIRST}'",
                [FIRST],
            ),
            (f"UPDATE workspaces SET id = '{THIRD}' WHERE id = '{FIRST}'", [FIRST, THIRD]),
            (
                "INSERT INTO workspace_auth_tokens (id, workspace_id, token_hash)"
                f" VALUES ('{FIRST}', '{THIRD}', 'a')",
                [THIRD],
            ),
            ("UPDATE workspace_auth_tokens SET last_used_at = now()", []),
            ("UPDATE workspace_auth_tokens SET scopes = 'read'", [THIRD]),
            (
                f"UPDATE workspace_auth_tokens SET workspace_id = '{SECOND}'",
                [THIRD, SECOND],
            ),
            ("UPDATE workspace_auth_tokens SET revoked_at = now()", [SECOND]),
            ("DELETE FROM workspace_auth_tokens", [SECOND]),
            ("BEGIN; UPDATE workspaces SET url = ''; ROLLBACK", []),
            (f"DELETE FROM workspaces WHERE id = '{THIRD}'", [THIRD]),
            ("TRUNCATE workspaces, workspace_auth_tokens", [None]),
        ]
        mark = UUID(int=0)
        for sql, expected in steps:
            told: list[UUID | None] = []
            unsubscribe = registry.subscribe(told.append)
            self.database.execute(sql)
            await settled(registry, self.database, mark)
            unsubscribe()
            self.assertEqual([each for each in told if each != mark], expected, sql)

    async def test_a_payload_that_is_no_id(self) -> None:
        """A notification whose payload is not an id counts as a change of any workspace."""
        registry = await self.start()
        for payload in ("", "x", "{}"):
            waiting = begun(heard(registry, lambda found: found is None))
            self.database.execute("SELECT pg_notify('chatfiles_changed', %s)", (payload,))
            await waiting


class PackageTests(SynchronousTestCase):
    """The files of the migrations."""

    def test_numbered(self) -> None:
        """The package contains every migration once, in order."""
        names = [each.name for each in load("postgresql")]
        self.assertEqual(
            names,
            [
                "workspaces",
                "notify",
                "quiet_heartbeats",
                "pages",
                "live_pages",
                "third_party_status",
                "links",
                "next_secret",
                "channels",
            ],
        )
