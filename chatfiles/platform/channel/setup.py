"""
Puts the parts together that workspaces need to connect to the platform by themselves.
"""

from __future__ import annotations

import random
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from chatfiles.platform.channel.channels import Channels
from chatfiles.platform.channel.node import Node
from chatfiles.platform.channel.relays import Relays
from chatfiles.platform.channel.revocation import Revocation
from chatfiles.platform.channel.search import Search
from chatfiles.platform.registry.interface import IWorkspaceRegistry

__all__ = ["ChannelParts"]


class ChannelParts:
    """
    The parts.

    :param reactor: runs timers, and connects.
    :param registry: knows the nodes, and which workspaces are connected to them.
    :param connect_timeout: seconds for which a request waits for a connection.
    :param node_id: the id of this node.
    """

    def __init__(
        self,
        reactor: Any,
        registry: IWorkspaceRegistry,
        connect_timeout: float,
        node_id: UUID | None = None,
    ) -> None:
        self.relays = Relays(reactor, registry, connect_timeout)
        self.node = Node(registry, reactor, node_id or uuid4(), None, self.relays.connect)
        self.channels = Channels(
            reactor,
            random.uniform,
            connect_timeout,
            partial(Search, registry, self.node, reactor, connect_timeout),
            self.node.opened,
            self.node.closed,
        )
        self._revocation = Revocation(registry, self.channels)

    def start(self) -> None:
        """Begin, after the registry has."""
        self.node.start()
        self._revocation.start()

    async def stop(self) -> None:
        """End, before the registry does."""
        self._revocation.stop()
        await self.channels.close()
        await self.node.stop()
