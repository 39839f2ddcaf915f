"""
``GET /registry/channel``: a workspace makes a connection on which the platform sends the requests
(reference/channel, "The upgrade").
"""

from __future__ import annotations

from chatfiles.errors import Conflict, TooManyRequests, Unavailable
from chatfiles.http.server.request import Request
from chatfiles.http.server.upgrade import require_upgrade
from chatfiles.platform import error_texts
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.rules.channel_upgrade import APPLICATION, NODE, PROTOCOL

__all__ = ["open_channel"]

#: Seconds after which a workspace may try another node.
_NEXT_NODE = 1


async def open_channel(context: PlatformContext, request: Request) -> None:
    """Park the connection of a workspace."""
    token = await context.authenticator.for_channel(request)
    request.workspace = str(token.workspace_id)
    require_upgrade(request)
    if request.site.draining or context.channels.draining:
        raise Unavailable("draining", code="draining", retry_after=_NEXT_NODE)
    workspace = await context.registry.workspace(token.workspace_id)
    if workspace is None:
        raise error_texts.no_workspace()
    if not workspace.connects:
        raise Conflict("workspace is in push mode", code="not_in_poll_mode")
    # Check again: the token may have been revoked meanwhile.
    token = await context.authenticator.for_channel(request)
    require_upgrade(request)
    # Last, because while others are waited for, more connections may be parked.
    if not context.channels.has_room(workspace.id):
        raise TooManyRequests(
            "too many parked connections", code="too_many_channels", retry_after=_NEXT_NODE
        )
    connection = context.channels.new_connection(workspace.id, token.id, request.client_address)
    node = str(context.node.node_id).encode("ascii")
    upgrade = (b"Connection", b"upgrade"), (b"Upgrade", PROTOCOL)
    request.switch_protocols((*upgrade, APPLICATION, (NODE, node)), connection)
