"""
The contract of a registry whose rows are persistent, and written by other programs as well.
"""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime, timedelta, timezone
from uuid import UUID

from twisted.internet.defer import Deferred, gatherResults

from chatfiles.errors import BadRequest, Conflict, ConstraintViolated, Misconfigured
from chatfiles.model import ALL_SCOPES, Scope, Token, Workspace, token_hash
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.rules.link_keys import new_link_key
from tests.contract.registry import RegistryContract
from tests.contract.registry_case import (
    FIRST,
    SECOND,
    SECRET,
    THIRD,
    begun,
    every_call,
)
from tests.contract.registry_claims import try_claim

#: The columns that lookups read, except keys and those that an index needs.
LOOKED_UP = {
    "workspaces": "name url delivery_mode platform_inbound_secret last_heartbeat_at"
    " links_not_before next_inbound_secret",
    "workspace_auth_tokens": "prefix created_at last_used_at revoked_at scopes name",
    "chatfiles_keys": "purpose key created_at signs_until verifies_until",
}


class StoredRegistryContract(RegistryContract):
    """A registry whose rows are persistent, and written by other programs as well."""

    # Hooks

    async def insert(self, table: str, **columns: object) -> None:
        """
        Write a row as another program does, with NULL in the columns that are not given.

        :param columns: UUIDs, aware datetimes, text, bytes or ``None``.
        """
        raise NotImplementedError

    async def alter(self, statement: str) -> None:
        """Change tables as another program does."""
        raise NotImplementedError

    async def demand(self, column: str) -> None:
        """Make a column of the workspaces, of which there are none yet, ``NOT NULL``."""
        raise NotImplementedError

    # Several registries on one storage

    def next_notification(self) -> Deferred[UUID | None]:
        told: Deferred[UUID | None] = Deferred()

        def hear(workspace_id: UUID | None) -> None:
            if not told.called:
                told.callback(workspace_id)

        self.addCleanup(self.registry.subscribe(hear))
        return told

    async def another(self) -> IWorkspaceRegistry:
        """:return: a second registry, started, on the same storage, as of another process."""
        registry = self.make_registry()
        self.addCleanup(lambda: begun(registry.close()))
        await registry.start()
        return registry

    async def test_rows_outlive_the_registry(self):
        """Workspaces and tokens are unchanged after a restart."""
        await self.create(url="http://a", delivery_mode="push")
        token = await self.mint(scopes=frozenset({Scope.WRITE}), name="kept")
        await self.registry.touch_tokens({token.id: self.moment})
        await self.registry.touch_workspaces({FIRST: self.moment})
        before = await self.registry.fresh_workspace(FIRST)
        (listed,) = await self.registry.tokens(FIRST)
        await self.registry.close()
        again = await self.another()
        self.assertEqual(await again.workspace(FIRST), before)
        self.assertEqual(await again.token(token_hash("token")), listed)

    async def test_start_many_at_once(self):
        """Registries that start at once on a new storage all succeed."""
        await gatherResults([begun(self.another()) for _ in range(4)])

    async def test_others_see_changes(self):
        """Another process sees a change."""
        other = await self.another()
        await self.create()
        self.assertIsNotNone(await other.workspace(FIRST))

    async def test_changes_of_others_are_told(self):
        """
        Subscribers are notified of another process's change, and a token that it has revoked is
        invalid.
        """
        other = await self.another()
        await self.create()
        token = await self.mint()
        await self.registry.token(token_hash("token"))
        await self.settle()
        told = self.next_notification()
        await other.revoke_token(FIRST, token.id)
        self.assertIn(await told, (None, FIRST))
        self.assertIsNone(await self.registry.token(token_hash("token")))

    async def test_only_first_in_two_processes(self):
        """Of two processes that create a first token at once, one succeeds."""
        other = await self.another()
        await self.create()
        calls = [
            begun(
                registry.create_token(
                    FIRST,
                    digest=token_hash(f"{n}"),
                    prefix="",
                    scopes=ALL_SCOPES,
                    name=None,
                    only_first=True,
                )
            )
            for n, registry in enumerate([self.registry, other] * 3)
        ]
        minted = [token for token in await gatherResults(calls) if token is not None]
        self.assertEqual(len(minted), 1)

    async def test_claim_in_two_processes(self):
        """One of several claims in two processes succeeds, with both its token and its URL."""
        other = await self.another()
        calls = [
            begun(try_claim(registry, f"t{n}"))
            for n, registry in enumerate([self.registry, other] * 3)
        ]
        (winner,) = [found for found in await gatherResults(calls) if found is not None]
        self.assertEqual(await other.fresh_workspace(FIRST), winner)
        (token,) = await other.tokens(FIRST)
        self.assertEqual(winner.url, f"http://{token.prefix}")

    async def test_ensure_secret_in_two_processes(self):
        """Two processes return the same secret for one workspace."""
        other = await self.another()
        await self.create(secret="")
        calls = [
            begun(registry.ensure_secret(FIRST, f"candidate {n}"))
            for n, registry in enumerate([self.registry, other] * 3)
        ]
        self.assertEqual(len(set(await gatherResults(calls))), 1)

    async def test_first_link_key_in_two_processes(self):
        """Two processes that need the first key of links at once get the same one."""
        other = await self.another()
        calls = [
            begun(registry.ensure_link_key(new_link_key(self.moment)))
            for registry in [self.registry, other] * 3
        ]
        self.assertEqual(len({key.id for key in await gatherResults(calls)}), 1)
        self.assertEqual(len(await other.link_keys()), 1)

    async def test_link_keys_of_others(self):
        """A process sees the key that another has just made, and that another has revoked it."""
        other = await self.another()
        self.assertEqual(list(await self.registry.link_keys()), [])
        for n in range(2):
            await self.settle()
            told = self.next_notification()
            key = await other.ensure_link_key(new_link_key(self.moment))
            self.assertIsNone(await told)
            keys = await self.registry.link_keys()
            self.assertEqual((len(keys), keys[-1]), (n + 1, key))
            await self.settle()
            told = self.next_notification()
            await other.revoke_link_key(key.id)
            self.assertIsNone(await told)
            (*_, last) = await self.registry.link_keys()
            self.assertFalse(last.verifies(self.moment))
            self.pass_time()

    async def test_links_revoked_by_others(self):
        """A process sees that another has revoked the links of a workspace."""
        other = await self.another()
        await self.create()
        await self.registry.workspace(FIRST)
        await self.settle()
        told = self.next_notification()
        before = self.shared_seconds()
        await other.revoke_links(FIRST)
        self.assertIn(await told, (None, FIRST))
        found = await self.registry.workspace(FIRST)
        assert found is not None
        self.assertGreater(found.links_not_before, before)

    # Columns that other programs drop

    async def test_check_of_what_lookups_read(self):
        """
        `check` fails while a column that lookups read is missing, and succeeds when it is back.
        """
        for table, columns in LOOKED_UP.items():
            for column in columns.split():
                await self.alter(f"ALTER TABLE {table} DROP COLUMN {column}")
                await self.assert_unavailable(self.registry.check())
                await self.alter(f"ALTER TABLE {table} ADD COLUMN {column} text")
                await self.registry.check()

    # Constraints of other programs

    async def breaks(self, call: Awaitable[object], rule: str) -> None:
        """Assert that *call* fails because of *rule*, and that the error names it."""
        with self.assertRaises(ConstraintViolated) as caught:
            await call
        error = caught.exception
        self.assertEqual((error.status, error.retry_after), (409, None))
        self.assertIn(rule, error.detail or "")
        self.assertNotIn(SECRET, error.detail or "")

    async def test_unique_for_others(self):
        """
        A name that violates another program's unique index is a `ConstraintViolated`, not a
        conflict of ids or an outage, and nothing is stored.
        """
        await self.alter("CREATE UNIQUE INDEX one_name ON workspaces (name)")
        await self.create(name="taken")
        await self.settle()
        told = self.told()
        await self.breaks(self.add(SECOND, name="taken"), "name")
        await self.breaks(
            self.registry.register(SECOND, url=None, delivery_mode=None, create_name="taken"),
            "name",
        )
        await self.breaks(
            self.registry.claim(
                SECOND,
                url=None,
                delivery_mode=None,
                create_name="taken",
                digest=token_hash("t"),
                prefix="t",
                scopes=ALL_SCOPES,
                name=None,
            ),
            "name",
        )
        await self.settle()
        self.assertEqual(told, [])
        self.assertIsNone(await self.registry.fresh_workspace(SECOND))
        with self.assertRaises(Conflict):
            await self.add(name="taken")
        await self.add(SECOND, name="another")

    async def test_unique_tokens_for_others(self):
        """
        A token that violates another program's unique index is a `ConstraintViolated`, not a token
        that exists.
        """
        await self.alter("CREATE UNIQUE INDEX one_prefix ON workspace_auth_tokens (prefix)")
        await self.create()
        await self.mint("abc")
        with self.assertRaises(Conflict):
            await self.mint("abc")
        await self.breaks(self.mint("abcd", prefix="abc"), "prefix")

    async def test_checked_by_others(self):
        """A violation of another program's check is a `ConstraintViolated`, not an outage."""
        await self.alter(
            "ALTER TABLE workspaces ADD COLUMN theirs text"
            " CONSTRAINT not_removed CHECK (status <> 'removed' AND name <> 'bad')"
        )
        await self.breaks(self.add(name="bad"), "not_removed")
        await self.create()
        await self.breaks(self.registry.remove_workspace(FIRST), "not_removed")
        self.assertIsNotNone(await self.registry.fresh_workspace(FIRST))

    async def test_demanded_by_others(self):
        """
        If another program demands a value for its column the error is `Misconfigured`, not an
        outage that will end soon.
        """
        await self.demand("theirs")
        for name in ("create_workspace", "claim", "register"):
            with self.assertRaises(Misconfigured) as caught:
                await every_call(self.registry)[name]()
            error = caught.exception
            self.assertEqual((error.status, error.retry_after), (503, None))
            self.assertIn("theirs", error.detail or "")
        self.assertEqual(list(await self.registry.workspaces(limit=100)), [])

    async def test_demanded_of_the_caller(self):
        """If a client omits a value that another program demands, the error names it."""
        await self.demand("url")
        with self.assertRaises(BadRequest) as caught:
            await self.add()
        self.assertIn("url", caught.exception.text)
        await self.add(url="http://a")

    # Rows of other programs

    async def insert_token(self, digest: bytes = token_hash("token"), **columns: object) -> None:
        given = {"id": THIRD, "workspace_id": FIRST, "token_hash": digest} | columns
        await self.insert("workspace_auth_tokens", **given)

    async def test_row_of_nulls(self):
        """A row that has only an id is found, and can be changed."""
        await self.insert("workspaces", id=FIRST)
        expected = Workspace(FIRST, "", None, None, None, None, None)
        self.assertEqual(await self.registry.workspace(FIRST), expected)
        self.assertEqual(list(await self.registry.workspaces(limit=100)), [expected])
        self.assertEqual(await self.registry.ensure_secret(FIRST, SECRET), SECRET)
        registered = await self.registry.register(
            FIRST, url="http://a", delivery_mode=None, create_name=None
        )
        assert registered is not None
        self.assertEqual((registered.url, registered.delivery_mode), ("http://a", None))
        self.assertIs(await self.registry.remove_workspace(FIRST), True)
        self.assertIsNone(await self.registry.workspace(FIRST))

    async def test_pages_of_nulls(self):
        """Rows whose age is unknown are listed once."""
        await self.create(SECOND)
        for each in (THIRD, FIRST):
            await self.insert("workspaces", id=each)
        found: list[UUID] = []
        while page := await self.registry.workspaces(limit=1, after=found[-1] if found else None):
            found += [row.id for row in page]
        self.assertEqual(found, [FIRST, THIRD, SECOND])

    async def test_token_of_nulls(self):
        """A token from before there were scopes has every scope."""
        await self.insert("workspaces", id=FIRST)
        await self.insert_token()
        expected = Token(THIRD, FIRST, "", ALL_SCOPES, None, None, None)
        self.assertEqual(await self.registry.token(token_hash("token")), expected)
        self.assertEqual(list(await self.registry.tokens(FIRST)), [expected])
        await self.registry.touch_tokens({THIRD: self.moment})
        self.assertEqual(await self.last_used(), [self.moment])

    async def test_unknown_scopes(self):
        """A scope that this version does not know grants nothing."""
        await self.insert("workspaces", id=FIRST)
        await self.insert_token(scopes="read admin reader READ *")
        found = await self.registry.token(token_hash("token"))
        assert found is not None
        self.assertEqual(found.scopes, frozenset({Scope.READ}))

    async def test_row_of_another_program(self):
        """Rows that another program has written are read as they were written."""
        at = self.moment - timedelta(days=1)
        await self.insert(
            "workspaces",
            id=FIRST,
            name="theirs",
            url="http://a",
            status="offline",
            delivery_mode="push",
            platform_inbound_secret=SECRET,
            last_heartbeat_at=at,
            created_at=at,
            updated_at=at,
        )
        await self.insert_token(prefix="abcdefgh", created_at=at, last_used_at=at)
        self.assertEqual(
            await self.registry.workspace(FIRST),
            Workspace(FIRST, "theirs", "http://a", "offline", "push", SECRET, at),
        )
        self.assertEqual(
            await self.registry.token(token_hash("token")),
            Token(THIRD, FIRST, "abcdefgh", ALL_SCOPES, None, at, at),
        )

    async def test_moments_out_of_range(self):
        """
        A timestamp that Python cannot represent in UTC is ``None``, and does not break the list.
        """
        hour = timedelta(hours=1)
        for each, at in (
            (FIRST, datetime.min.replace(tzinfo=timezone(hour))),
            (SECOND, datetime.max.replace(tzinfo=timezone(-hour))),
        ):
            await self.insert("workspaces", id=each, last_heartbeat_at=at, created_at=at)
            await self.insert_token(
                str(each).encode(), id=each, workspace_id=each, created_at=at, last_used_at=at
            )
            found = await self.registry.workspace(each)
            assert found is not None
            self.assertIsNone(found.last_heartbeat_at)
            (token,) = await self.registry.tokens(each)
            self.assertEqual((token.created_at, token.last_used_at), (None, None))
        self.assertEqual(len(await self.registry.workspaces(limit=100)), 2)

    async def test_paused_by_another_program(self):
        """A registration does not make a paused workspace online."""
        await self.insert("workspaces", id=FIRST, status="paused")
        found = await self.registry.register(
            FIRST, url="http://a", delivery_mode=None, create_name=None
        )
        assert found is not None
        self.assertEqual((found.status, found.url), ("paused", "http://a"))

    async def test_removed_by_another_program(self):
        """
        If another program has removed a workspace, but not its tokens, neither it nor they are
        found.
        """
        await self.insert("workspaces", id=FIRST, status="removed")
        await self.insert_token()
        self.assertIsNone(await self.registry.workspace(FIRST))
        self.assertIsNone(await self.registry.token(token_hash("token")))
        self.assertEqual(list(await self.registry.tokens(FIRST)), [])

    async def test_revoked_by_another_program(self):
        """A token that another program has revoked is invalid."""
        await self.insert("workspaces", id=FIRST)
        await self.insert_token(revoked_at=self.moment)
        self.assertIsNone(await self.registry.token(token_hash("token")))
        self.assertIs(await self.registry.has_live_token(FIRST), False)
