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
    """Creating, finding, registering."""

    async def test_unknown_workspace(self):
        """A workspace that nobody has created is found."""
        self.assertIsNone(await self.registry.workspace(UNKNOWN))
        self.assertIsNone(await self.registry.fresh_workspace(UNKNOWN))
        self.assertEqual(list(await self.registry.workspaces(limit=100)), [])

    async def test_create_workspace(self):
        """What was given is not what is found."""
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
        """Nothing opens a workspace that has just been created, or what does has other rights."""
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
        """A workspace whose token cannot be made is there without one, and its id is taken."""
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
        """``None`` and empty text become each other: 503 and 422 are told apart by them."""
        await self.create(FIRST, name="", url=None, delivery_mode=None, secret="")
        await self.create(SECOND, name="", url="", delivery_mode="", secret="")
        first, second = await self.registry.workspaces(limit=100)
        self.assertEqual((first.url, first.delivery_mode, first.inbound_secret), (None, None, ""))
        self.assertEqual((second.url, second.delivery_mode), ("", ""))
        self.assertEqual(first.name, "")

    async def test_create_workspace_twice(self):
        """A second workspace takes over the id of the first."""
        await self.create(name="first")
        with self.assertRaises(Conflict):
            await self.add(name="second", secret=OTHER_SECRET, digest=token_hash("t"))
        self.assertIsNone(await self.registry.token(token_hash("t")))
        found = await self.registry.workspace(FIRST)
        assert found is not None
        self.assertEqual((found.name, found.inbound_secret), ("first", SECRET))

    async def test_create_removed_workspace(self):
        """An id that was removed can be had again, with its old tokens' audit trail."""
        await self.create()
        await self.registry.remove_workspace(FIRST)
        with self.assertRaises(Conflict):
            await self.create()
        self.assertIsNone(await self.registry.workspace(FIRST))

    async def test_create_workspace_twice_at_once(self):
        """Two that create the same id at once both believe that they have it."""
        calls = [begun(self.add(name=name, digest=name.encode())) for name in ("a", "b")]
        outcomes = [await call.addErrback(lambda f: f.trap(Conflict)) for call in calls]
        self.assertEqual(outcomes.count(Conflict), 1)
        self.assertEqual(len(await self.registry.tokens(FIRST)), 1)

    async def test_workspaces_in_order(self):
        """The list is not oldest first, then by id, or shows what was removed."""
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
        """A list in pages leaves one out, or gives one twice."""
        for each in (THIRD, FIRST, UNKNOWN):  # at one moment
            await self.create(each)
        self.pass_time(-1)
        await self.create(SECOND)
        expected = [SECOND, UNKNOWN, FIRST, THIRD]
        self.assertEqual(await self.pages(4), [expected])
        self.assertEqual(await self.pages(2), [expected[:2], expected[2:]])
        self.assertEqual(await self.pages(1), [[each] for each in expected])

    async def test_pages_of_what_changes(self):
        """Of a list that changes while it is read, something is left out that was there all the
        time, or the reader is told that it does not exist."""
        for each in (FIRST, SECOND, THIRD):
            await self.create(each)
            self.pass_time()
        (first,) = await self.registry.workspaces(limit=1)
        await self.registry.remove_workspace(first.id)
        await self.create(UNKNOWN)
        rest = await self.registry.workspaces(limit=100, after=first.id)
        self.assertEqual([row.id for row in rest], [SECOND, THIRD, UNKNOWN])

    async def test_page_behind_nothing(self):
        """A page behind a workspace that has never been reads as the end of the list."""
        await self.create()
        with self.assertRaises(BadRequest):
            await self.registry.workspaces(limit=1, after=SECOND)

    async def test_order_is_of_creation(self):
        """The list's order changes when a workspace registers."""
        await self.create(SECOND)
        self.pass_time()
        await self.create(FIRST)
        self.pass_time()
        await self.registry.register(SECOND, url="http://a", delivery_mode=None, create_name=None)
        found = await self.registry.workspaces(limit=100)
        self.assertEqual([row.id for row in found], [SECOND, FIRST])

    async def test_register(self):
        """A registration does not bring the workspace online, or forgets what it was given."""
        await self.create()
        self.pass_time()
        registered = await self.registry.register(
            FIRST, url="http://a", delivery_mode="push", create_name=None
        )
        expected = Workspace(FIRST, "one", "http://a", "online", "push", SECRET, self.moment)
        self.assertEqual(registered, expected)
        self.assertEqual(await self.registry.workspace(FIRST), expected)

    async def test_register_keeps(self):
        """What a registration does not name is lost."""
        await self.create(url="http://a", delivery_mode="push")
        for create_name in (None, "another name"):
            found = await self.registry.register(
                FIRST, url=None, delivery_mode=None, create_name=create_name
            )
            assert found is not None
            self.assertEqual((found.name, found.url), ("one", "http://a"))
            self.assertEqual((found.delivery_mode, found.inbound_secret), ("push", SECRET))

    async def test_register_replaces(self):
        """A workspace that has moved is still called at its old place."""
        await self.create(url="http://a", delivery_mode="push")
        found = await self.registry.register(
            FIRST, url="http://b", delivery_mode="", create_name=None
        )
        assert found is not None
        self.assertEqual((found.url, found.delivery_mode), ("http://b", ""))

    async def test_register_unknown(self):
        """A registration creates a workspace where that is not allowed."""
        found = await self.registry.register(
            FIRST, url="http://a", delivery_mode="push", create_name=None
        )
        self.assertIsNone(found)
        self.assertEqual(list(await self.registry.workspaces(limit=100)), [])

    async def test_register_creates(self):
        """Open registration creates nothing, or a workspace with a secret that nobody knows."""
        found = await self.registry.register(
            FIRST, url="http://a", delivery_mode="push", create_name="new"
        )
        expected = Workspace(FIRST, "new", "http://a", "online", "push", None, self.moment)
        self.assertEqual(found, expected)
        self.assertEqual(await self.registry.workspace(FIRST), expected)

    async def test_register_creates_once(self):
        """Two first registrations at once fail, or make two rows."""
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
        """A workspace that was removed brings itself back."""
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
        """:return: when each workspace was last heard of, past every cache."""
        return {row.id: row.last_heartbeat_at for row in await self.registry.workspaces(limit=100)}

    async def test_heard_of(self):
        """A heartbeat is not noted, or changes anything else."""
        before = await self.create(url="http://a", delivery_mode="push")
        await self.create(SECOND)
        await self.create(THIRD)
        later = self.moment + timedelta(seconds=5)
        await self.registry.touch_workspaces({FIRST: later, SECOND: self.moment})
        self.assertEqual(await self.heard(), {FIRST: later, SECOND: self.moment, THIRD: None})
        found = await self.registry.fresh_workspace(FIRST)
        self.assertEqual(found, replace(before, last_heartbeat_at=later))

    async def test_heard_of_is_never_set_back(self):
        """Of two nodes that write what they have heard, the one that heard last is not believed."""
        await self.create()
        await self.registry.register(FIRST, url=None, delivery_mode=None, create_name=None)
        for seconds in (-1, 0, 2, 1):
            moment = self.moment + timedelta(seconds=seconds)
            await self.registry.touch_workspaces({FIRST: moment})
        self.assertEqual(await self.heard(), {FIRST: self.moment + timedelta(seconds=2)})

    async def test_heard_of_unknown(self):
        """A heartbeat creates a workspace, brings one back, or keeps others from being noted."""
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
        """A batch as large as may be is refused, or written in part."""
        ids = [UUID(int=number) for number in range(1000)]
        for each in ids[::100]:
            await self.create(each)
        await self.registry.touch_workspaces(dict.fromkeys(reversed(ids), self.moment))
        self.assertEqual(await self.heard(), dict.fromkeys(ids[::100], self.moment))

    async def test_heard_of_as_it_was(self):
        """What is noted while a batch is being written is written half, or lost."""
        await self.create()
        heard = {FIRST: self.moment}
        written = begun(self.registry.touch_workspaces(heard))
        heard.clear()
        await written
        self.assertEqual(await self.heard(), {FIRST: self.moment})
