"""
The contract of a registry's workspaces.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from twisted.internet.defer import gatherResults

from chatfiles.errors import BadRequest, Conflict
from chatfiles.model import Scope, Workspace, token_hash
from tests.contract.registry_case import (
    FIRST,
    OTHER_SECRET,
    SECOND,
    SECRET,
    THIRD,
    UNKNOWN,
    RegistryCase,
    begun,
)


class WorkspacesContract(RegistryCase):
    """Creating, finding and registering workspaces."""

    async def test_unknown_workspace(self):
        """A workspace that was never created is not found."""
        self.assertIsNone(await self.registry.workspace(UNKNOWN))
        self.assertIsNone(await self.registry.fresh_workspace(UNKNOWN))
        self.assertEqual(list(await self.registry.workspaces(limit=100)), [])

    async def test_create_workspace(self):
        """A workspace is found with the values with which it was created."""
        created = await self.add(
            name="näme'); DROP TABLE workspaces; --", url="https://a.example/ü", delivery_mode="x"
        )
        expected = Workspace(
            id=FIRST,
            name="näme'); DROP TABLE workspaces; --",
            url="https://a.example/ü",
            status="provisioning",
            delivery_mode="x",
            inbound_secret=SECRET,
            last_heartbeat_at=None,
        )
        self.assertEqual(created, expected)
        self.assertEqual(await self.registry.workspace(FIRST), expected)
        self.assertEqual(await self.registry.fresh_workspace(FIRST), expected)
        self.assertEqual(list(await self.registry.workspaces(limit=100)), [expected])

    async def test_create_workspace_with_its_token(self):
        """A new workspace has a token that opens it, with the scopes that were given."""
        told = self.told()
        scopes = frozenset({Scope.READ})
        await self.add(digest=token_hash("t"), prefix="t", scopes=scopes, token_name="first")
        self.assertIn(FIRST, told)
        token = await self.registry.token(token_hash("t"))
        assert token is not None
        self.assertEqual(
            (token.workspace_id, token.prefix, token.scopes, token.name, token.created_at),
            (FIRST, "t", scopes, "first", self.moment),
        )
        self.assertEqual(list(await self.registry.tokens(FIRST)), [token])

    async def test_create_workspace_with_known_token(self):
        """
        If the token of a new workspace exists already, no workspace is created, and its id is still
        free.
        """
        await self.create(SECOND)
        token = await self.mint("t", SECOND)
        await self.settle()
        told = self.told()
        with self.assertRaises(Conflict):
            await self.add(digest=token_hash("t"))
        await self.settle()
        self.assertEqual(told, [])
        self.assertIsNone(await self.registry.fresh_workspace(FIRST))
        self.assertEqual(await self.registry.token(token_hash("t")), token)
        await self.add()

    async def test_create_workspace_with_little(self):
        """
        ``None`` and empty text remain distinct: responses with 503 and 422 depend on the
        difference.
        """
        await self.create(FIRST, name="", url=None, delivery_mode=None, secret="")
        await self.create(SECOND, name="", url="", delivery_mode="", secret="")
        first, second = await self.registry.workspaces(limit=100)
        self.assertEqual((first.url, first.delivery_mode, first.inbound_secret), (None, None, ""))
        self.assertEqual((second.url, second.delivery_mode), ("", ""))
        self.assertEqual(first.name, "")

    async def test_create_workspace_twice(self):
        """A workspace cannot be created with an existing id, and the first one is unchanged."""
        await self.create(name="first")
        with self.assertRaises(Conflict):
            await self.add(name="second", secret=OTHER_SECRET, digest=token_hash("t"))
        self.assertIsNone(await self.registry.token(token_hash("t")))
        found = await self.registry.workspace(FIRST)
        assert found is not None
        self.assertEqual((found.name, found.inbound_secret), ("first", SECRET))

    async def test_create_removed_workspace(self):
        """
        The id of a removed workspace, which has its old tokens' audit trail, cannot be used again.
        """
        await self.create()
        await self.registry.remove_workspace(FIRST)
        with self.assertRaises(Conflict):
            await self.create()
        self.assertIsNone(await self.registry.workspace(FIRST))

    async def test_create_workspace_twice_at_once(self):
        """Of two concurrent calls that create the same id, one fails with `Conflict`."""
        calls = [begun(self.add(name=name, digest=name.encode())) for name in ("a", "b")]
        outcomes = [await call.addErrback(lambda f: f.trap(Conflict)) for call in calls]
        self.assertEqual(outcomes.count(Conflict), 1)
        self.assertEqual(len(await self.registry.tokens(FIRST)), 1)

    async def test_workspaces_in_order(self):
        """Workspaces are listed oldest first, then by id, without removed ones."""
        await self.create(THIRD)
        await self.create(UNKNOWN)
        self.pass_time()
        await self.create(SECOND)
        await self.create(FIRST)
        await self.registry.remove_workspace(UNKNOWN)
        found = await self.registry.workspaces(limit=100)
        self.assertEqual([row.id for row in found], [THIRD, FIRST, SECOND])

    async def pages(self, limit: int) -> list[list[UUID]]:
        """:return: the ids of all workspaces, page by page."""
        found: list[list[UUID]] = []
        after = None
        while page := await self.registry.workspaces(limit=limit, after=after):
            found.append([row.id for row in page])
            after = page[-1].id
        return found

    async def test_workspaces_in_pages(self):
        """The pages of a list contain each workspace exactly once."""
        for each in (THIRD, FIRST, UNKNOWN):  # at the same time
            await self.create(each)
        self.pass_time(-1)
        await self.create(SECOND)
        expected = [SECOND, UNKNOWN, FIRST, THIRD]
        self.assertEqual(await self.pages(4), [expected])
        self.assertEqual(await self.pages(2), [expected[:2], expected[2:]])
        self.assertEqual(await self.pages(1), [[each] for each in expected])

    async def test_pages_of_what_changes(self):
        """
        If a list changes while it is read, its pages contain every workspace that existed all the
        time. The next page can be read even if the last workspace of a page was removed.
        """
        for each in (FIRST, SECOND, THIRD):
            await self.create(each)
            self.pass_time()
        (first,) = await self.registry.workspaces(limit=1)
        await self.registry.remove_workspace(first.id)
        await self.create(UNKNOWN)
        rest = await self.registry.workspaces(limit=100, after=first.id)
        self.assertEqual([row.id for row in rest], [SECOND, THIRD, UNKNOWN])

    async def test_page_behind_nothing(self):
        """
        A page after a workspace that never existed is a `BadRequest`, not the end of the list.
        """
        await self.create()
        with self.assertRaises(BadRequest):
            await self.registry.workspaces(limit=1, after=SECOND)

    async def test_order_is_of_creation(self):
        """A registration does not change the order of the list."""
        await self.create(SECOND)
        self.pass_time()
        await self.create(FIRST)
        self.pass_time()
        await self.registry.register(SECOND, url="http://a", delivery_mode=None, create_name=None)
        found = await self.registry.workspaces(limit=100)
        self.assertEqual([row.id for row in found], [SECOND, FIRST])

    async def test_register(self):
        """A registration brings a workspace online, with the values that were given."""
        await self.create()
        self.pass_time()
        registered = await self.registry.register(
            FIRST, url="http://a", delivery_mode="push", create_name=None
        )
        expected = Workspace(FIRST, "one", "http://a", "online", "push", SECRET, self.moment)
        self.assertEqual(registered, expected)
        self.assertEqual(await self.registry.workspace(FIRST), expected)

    async def test_register_keeps(self):
        """A registration keeps the values that it does not name."""
        await self.create(url="http://a", delivery_mode="push")
        for create_name in (None, "another name"):
            found = await self.registry.register(
                FIRST, url=None, delivery_mode=None, create_name=create_name
            )
            assert found is not None
            self.assertEqual((found.name, found.url), ("one", "http://a"))
            self.assertEqual((found.delivery_mode, found.inbound_secret), ("push", SECRET))

    async def test_register_replaces(self):
        """A registration replaces the URL and the delivery mode of a workspace that has moved."""
        await self.create(url="http://a", delivery_mode="push")
        found = await self.registry.register(
            FIRST, url="http://b", delivery_mode="", create_name=None
        )
        assert found is not None
        self.assertEqual((found.url, found.delivery_mode), ("http://b", ""))

    async def test_register_unknown(self):
        """A registration without a name for a new workspace does not create one."""
        found = await self.registry.register(
            FIRST, url="http://a", delivery_mode="push", create_name=None
        )
        self.assertIsNone(found)
        self.assertEqual(list(await self.registry.workspaces(limit=100)), [])

    async def test_register_creates(self):
        """An open registration creates an unknown workspace, without a secret."""
        found = await self.registry.register(
            FIRST, url="http://a", delivery_mode="push", create_name="new"
        )
        expected = Workspace(FIRST, "new", "http://a", "online", "push", None, self.moment)
        self.assertEqual(found, expected)
        self.assertEqual(await self.registry.workspace(FIRST), expected)

    async def test_register_creates_once(self):
        """Two concurrent first registrations both succeed, and create one row."""
        calls = [
            begun(
                self.registry.register(
                    FIRST, url=f"http://{name}", delivery_mode=None, create_name=name
                )
            )
            for name in ("a", "b")
        ]
        for found in await gatherResults(calls):
            assert found is not None
        self.assertEqual(len(await self.registry.workspaces(limit=100)), 1)

    async def test_removed_never_comes_back(self):
        """A registration does not bring a removed workspace back."""
        await self.create()
        await self.registry.remove_workspace(FIRST)
        for create_name in (None, "new"):
            found = await self.registry.register(
                FIRST, url="http://a", delivery_mode="push", create_name=create_name
            )
            self.assertIsNone(found)
        self.assertIsNone(await self.registry.workspace(FIRST))
        self.assertEqual(list(await self.registry.workspaces(limit=100)), [])

    async def heard(self) -> dict[UUID, datetime | None]:
        """:return: the time of each workspace's last heartbeat, read without any cache."""
        return {row.id: row.last_heartbeat_at for row in await self.registry.workspaces(limit=100)}

    async def test_heard_of(self):
        """A heartbeat is recorded, and changes nothing else."""
        before = await self.create(url="http://a", delivery_mode="push")
        await self.create(SECOND)
        await self.create(THIRD)
        later = self.moment + timedelta(seconds=5)
        await self.registry.touch_workspaces({FIRST: later, SECOND: self.moment})
        self.assertEqual(await self.heard(), {FIRST: later, SECOND: self.moment, THIRD: None})
        found = await self.registry.fresh_workspace(FIRST)
        self.assertEqual(found, replace(before, last_heartbeat_at=later))

    async def test_heard_of_is_never_set_back(self):
        """A heartbeat is never set back, even if two nodes write theirs in the wrong order."""
        await self.create()
        await self.registry.register(FIRST, url=None, delivery_mode=None, create_name=None)
        for seconds in (-1, 0, 2, 1):
            moment = self.moment + timedelta(seconds=seconds)
            await self.registry.touch_workspaces({FIRST: moment})
        self.assertEqual(await self.heard(), {FIRST: self.moment + timedelta(seconds=2)})

    async def test_heard_of_unknown(self):
        """
        The heartbeat of an unknown or removed workspace is ignored; the rest of the batch is
        recorded.
        """
        await self.create()
        await self.create(SECOND)
        await self.registry.remove_workspace(SECOND)
        await self.registry.touch_workspaces(
            {UNKNOWN: self.moment, SECOND: self.moment, FIRST: self.moment}
        )
        await self.registry.touch_workspaces({})
        self.assertEqual(await self.heard(), {FIRST: self.moment})
        self.assertIsNone(await self.registry.fresh_workspace(SECOND))

    async def test_heard_of_many(self):
        """A batch of the maximum size is recorded completely."""
        ids = [UUID(int=number) for number in range(1000)]
        for each in ids[::100]:
            await self.create(each)
        await self.registry.touch_workspaces(dict.fromkeys(reversed(ids), self.moment))
        self.assertEqual(await self.heard(), dict.fromkeys(ids[::100], self.moment))

    async def test_heard_of_as_it_was(self):
        """Changes of the mapping after the call do not affect what is recorded."""
        await self.create()
        heard = {FIRST: self.moment}
        written = begun(self.registry.touch_workspaces(heard))
        heard.clear()
        await written
        self.assertEqual(await self.heard(), {FIRST: self.moment})
