"""
The contract of a registry's nodes, and of the workspaces that are connected to them.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from chatfiles.model import ChannelPlaces
from tests.contract.registry_case import FIRST, SECOND, UNKNOWN, RegistryCase

NODE, OTHER_NODE = UUID(int=0xA), UUID(int=0xB)
URL = "http://10.0.0.3:8081"


class ChannelsContract(RegistryCase):
    """Nodes and channels."""

    async def places(self, workspace_id: UUID = FIRST) -> list[tuple[UUID, str | None]]:
        """:return: the nodes to which a workspace is connected, and their URLs, in order."""
        fresh = await self.registry.fresh_channel_places(workspace_id)
        places = await self.registry.channel_places(workspace_id)
        found, again = (
            [(place.node_id, place.url) for place in each.nodes] for each in (fresh, places)
        )
        self.assertEqual(found, again)
        return sorted(found)

    async def test_channels(self):
        """A workspace is connected to the nodes at which it has a channel."""
        await self.create()
        await self.create(SECOND)
        await self.registry.enter_node(NODE, URL)
        await self.registry.enter_node(OTHER_NODE, None)
        self.assertEqual(await self.places(), [])
        for node in (NODE, NODE, OTHER_NODE):
            self.assertIs(await self.registry.open_channel(FIRST, node), True)
        self.assertEqual(await self.places(), [(NODE, URL), (OTHER_NODE, None)])
        self.assertEqual(await self.registry.connected_workspaces(), {FIRST})
        self.assertEqual(await self.places(SECOND), [])
        await self.registry.close_channel(FIRST, NODE)
        self.assertEqual(await self.places(), [(OTHER_NODE, None)])

    async def test_last_seen(self):
        """The time at which a workspace was last connected is kept when it is not."""
        await self.create()
        self.assertEqual(await self.registry.channel_places(FIRST), ChannelPlaces())
        await self.registry.enter_node(NODE, URL)
        await self.registry.open_channel(FIRST, NODE)
        found = await self.registry.fresh_workspace(FIRST)
        assert found is not None
        assert found.channel_seen_at is not None
        await self.registry.close_channel(FIRST, NODE)
        places = await self.registry.fresh_channel_places(FIRST)
        self.assertEqual(places.nodes, ())
        assert places.seen_at is not None
        assert places.unseen is not None
        self.assertGreaterEqual(places.seen_at, found.channel_seen_at)
        self.assertGreaterEqual(places.unseen, 0.0)
        self.assertLess(places.unseen, 30.0)

    async def test_no_workspace(self):
        """A workspace that does not exist, or is removed, is not connected."""
        await self.create(SECOND)
        await self.registry.enter_node(NODE, URL)
        await self.registry.remove_workspace(SECOND)
        for workspace_id in (UNKNOWN, SECOND):
            self.assertIs(await self.registry.open_channel(workspace_id, NODE), False)
            await self.registry.close_channel(workspace_id, NODE)
            places = await self.registry.channel_places(workspace_id)
            self.assertEqual(places, ChannelPlaces())

    async def test_enter_and_leave(self):
        """A node that starts or stops has no workspaces; those of other nodes stay."""
        await self.create()
        for leave in (False, True):
            for node in (NODE, OTHER_NODE):
                await self.registry.enter_node(node, URL)
                await self.registry.open_channel(FIRST, node)
            if leave:
                await self.registry.leave_node(NODE)
            else:
                await self.registry.enter_node(NODE, URL)
            self.assertEqual(await self.places(), [(OTHER_NODE, URL)])

    async def test_other_nodes(self):
        """A node learns how many others are alive."""
        await self.registry.enter_node(NODE, URL)
        self.assertEqual(await self.registry.touch_node(NODE, URL), 0)
        self.assertEqual(await self.registry.touch_node(OTHER_NODE, None), 1)
        self.assertEqual(await self.registry.touch_node(NODE, URL), 1)
        await self.registry.leave_node(OTHER_NODE)
        self.assertEqual(await self.registry.touch_node(NODE, URL), 0)

    async def test_notified(self):
        """Subscribers are notified of channels."""
        await self.create()
        await self.registry.enter_node(NODE, URL)
        told: list[UUID | None] = []
        for change in (self.registry.open_channel, self.registry.close_channel):
            unsubscribe = self.registry.subscribe(told.append)
            await change(FIRST, NODE)
            self.assertIn(FIRST, told)
            unsubscribe()
            told.clear()

    async def test_url_removed(self):
        """An empty URL removes the stored one."""
        await self.create(url="http://8.8.8.8")
        await self.registry.register(FIRST, url="", delivery_mode="poll", create_name=None)
        found = await self.registry.fresh_workspace(FIRST)
        assert found is not None
        self.assertIsNone(found.url)
        self.assertTrue(found.connects)

    async def test_silent(self):
        """The seconds since a node was seen are those of the clock of the registry."""
        await self.create()
        await self.registry.enter_node(NODE, URL)
        await self.registry.open_channel(FIRST, NODE)
        self.moment += timedelta(seconds=31)
        (place,) = (await self.registry.fresh_channel_places(FIRST)).nodes
        if self.is_told_time:
            self.assertAlmostEqual(place.silent, 31.0, places=1)
        else:
            self.assertTrue(0.0 <= place.silent < 30.0, place)

    #: Whether `moment` is the clock of the registry; a database server has its own.
    is_told_time = True
