"""
``GET /internal/channel/{workspace_id}`` for other nodes: passes the bytes of a node and of a
workspace on (reference/channel, "Several nodes").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from twisted.internet.interfaces import IReactorTime

from chatfiles.errors import BadRequest, Unauthorized
from chatfiles.http.server.request import Request
from chatfiles.http.server.router import Route, Router
from chatfiles.http.server.site import Site
from chatfiles.http.server.upgrade import require_upgrade
from chatfiles.model import parse_uuid
from chatfiles.platform.channel.channels import Channels
from chatfiles.platform.channel.relay_ends import RelayEnd, relay
from chatfiles.platform.channel.relay_request import HOPS, RELAY_PATH
from chatfiles.platform.error_texts import workspace_offline
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.rules.bearer import bearer, same_secret
from chatfiles.rules.channel_upgrade import RELAY_PROTOCOL
from chatfiles.streams.bulk_splice import BulkMover
from chatfiles.streams.memory_budget import MemoryBudget

__all__ = ["RelayRoute", "relay_site"]

#: Seconds within which a workspace must have responded on a connection that is passed on.
_JUST_NOW: Final = 2.0


class RelayRoute:
    """
    Serves the route.

    :param registry: has the secrets of workspaces.
    :param channels: has the connections.
    :param mover: moves large bodies.
    """

    def __init__(self, registry: IWorkspaceRegistry, channels: Channels, mover: BulkMover) -> None:
        self._registry = registry
        self._channels = channels
        self._budget = MemoryBudget()
        self._mover = mover

    async def serve(self, _route: Route[None], request: Request, parameters: Sequence[str]) -> None:
        """Pass bytes on until one of both sides ends."""
        workspace_id = await self._admitted(request, parse_uuid(parameters[0]))
        if request.requestHeaders.getRawHeaders(HOPS[0], []) != [HOPS[1]]:
            raise BadRequest("Chatfiles-Hops must be 1", code="malformed_request")
        require_upgrade(request, RELAY_PROTOCOL)
        if self._channels.draining or not self._channels.has(workspace_id):
            raise workspace_offline(None)
        connection = await self._channels.connect_here(workspace_id, _JUST_NOW)
        end, far = (RelayEnd(self._budget, self._mover) for _ in range(2))
        request.switch_protocols(((b"Connection", b"upgrade"), (b"Upgrade", RELAY_PROTOCOL)), end)
        if end.transport is None:  # the node has left
            self._channels.put(connection)
        else:
            relay(end, far, connection)

    async def _admitted(self, request: Request, workspace_id: UUID | None) -> UUID:
        """
        :return: the id of the workspace.
        :raise Unauthorized: the node does not present the secret of this workspace.
        """
        presented = bearer(request.requestHeaders) or ""
        for read in (self._registry.workspace, self._registry.fresh_workspace):
            found = None if workspace_id is None else await read(workspace_id)
            if found is not None and same_secret(presented, found.inbound_secret or ""):
                return found.id
        raise Unauthorized


def relay_site(
    route: RelayRoute, clock: IReactorTime, header_timeout: float, idle_timeout: float
) -> Site:
    """
    :param route: serves the only route.
    :param clock: runs timers.
    :param header_timeout: seconds for the headers of a request.
    :param idle_timeout: seconds without progress.
    :return: what other nodes connect to.
    """
    path = RELAY_PATH + "{workspace_id}"
    router = Router([Route("GET", path, None, "", route.serve)], route.serve)
    return Site(
        router, clock, header_timeout=header_timeout, idle_timeout=idle_timeout, observers=()
    )
