"""
Puts the parts together that workspaces need to connect to the platform by themselves.
"""

from __future__ import annotations

import random
import socket
from functools import partial
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.web.iweb import IPolicyForHTTPS

from chatfiles.platform.channel.channels import Channels
from chatfiles.platform.channel.connection_search import Search
from chatfiles.platform.channel.node import Node
from chatfiles.platform.channel.relay_site import RelayRoute, relay_site
from chatfiles.platform.channel.relays import Relays
from chatfiles.platform.channel.revocation import Revocation
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.runtime.node_listener import NodeListener
from chatfiles.runtime.settings import SharedSettings
from chatfiles.streams.bulk_splice import BulkMover

__all__ = ["ChannelParts"]


class ChannelParts:
    """
    The parts.

    :param reactor: runs timers, and connects.
    :param registry: knows the nodes, and which workspaces are connected to them.
    :param settings: the operator's options.
    :param tls: verifies other nodes with ``https``.
    :param place: where this node listens for other nodes; ``None`` if they do not reach it.
    """

    def __init__(
        self,
        reactor: Any,
        registry: IWorkspaceRegistry,
        settings: SharedSettings,
        tls: IPolicyForHTTPS,
        place: NodeListener | None = None,
    ) -> None:
        connect_timeout = settings.connect_timeout
        self._place = place
        self._port: IListeningPort | None = None
        url = None if place is None else place.url
        self.relays = Relays(reactor, registry, connect_timeout, tls)
        self.node = Node(registry, reactor, _node_id(url), url, self.relays.connect)
        self.channels = Channels(
            reactor,
            random.uniform,
            connect_timeout,
            partial(
                self.relays.search,
                partial(Search, registry, self.node, reactor, connect_timeout),
            ),
            self._opened,
            self.node.closed,
            self.relays.take,
        )
        self._revocation = Revocation(registry, self.channels)
        self._mover = BulkMover()
        self._site = relay_site(
            RelayRoute(registry, self.channels, self._mover),
            reactor,
            settings.header_timeout,
            settings.idle_timeout,
        )

    async def start(self) -> None:
        """
        Begin, after the registry has.

        :raise ValueError: this node cannot listen for other nodes.
        """
        if self._place is not None:
            listener = self._place.listener
            try:
                self._port = await listener.endpoint.listen(self._site)
            except Exception as error:
                raise ValueError(f"--node-listen={listener.description}: {error}") from error
        self.node.start()
        self.relays.start()
        self._revocation.start()

    def drain(self) -> None:
        """Close all idle connections, and keep none any more."""
        self.channels.drain()
        self.relays.drain()

    async def finish(self, seconds: float) -> None:
        """
        Wait for the transfers of other nodes.

        :param seconds: how long at most.
        """
        await self.channels.finished(seconds)

    async def stop(self) -> None:
        """End, before the registry does."""
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
            await self._site.drain(0.0)
        self._revocation.stop()
        self.relays.stop()
        await self.channels.close()
        self._mover.close()
        await self.node.stop()

    def _opened(self, workspace_id: UUID) -> None:
        """A workspace has its first connection here, so it is no longer reached through others."""
        self.node.opened(workspace_id)
        self.relays.retire(workspace_id)


def _node_id(url: str | None) -> UUID:
    """:return: always the same for a URL: a node that starts again finds its own rows."""
    return uuid4() if url is None else uuid5(NAMESPACE_URL, f"{socket.gethostname()} {url}")
