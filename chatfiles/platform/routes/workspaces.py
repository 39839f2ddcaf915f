"""
``/workspaces`` and ``/workspaces/{workspace_id}``: list, create, show and remove workspaces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from chatfiles.errors import BadRequest
from chatfiles.http.server.json_body import read_json
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.model import ALL_SCOPES, ONLINE, Workspace, parse_uuid
from chatfiles.platform import error_texts
from chatfiles.platform.authentication import token_columns
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.platform.routes.json_fields import (
    optional_text,
    require_allowed,
    required_id,
    time_text,
)
from chatfiles.platform.routes.placement import PUSH
from chatfiles.rules.query import parse_query
from chatfiles.rules.urls import MAX_URL_LENGTH

__all__ = ["create_workspace", "list_workspaces", "remove_workspace", "show_workspace"]

#: The largest number of workspaces in one response, and the default: a few milliseconds of work.
MAX_PAGE = 1000
#: A workspace is shown as offline if its last heartbeat is older.
OFFLINE_AFTER = timedelta(seconds=90)


async def _workspace_views(
    context: PlatformContext, workspaces: Sequence[Workspace]
) -> list[dict[str, object]]:
    """:return: the descriptions of workspaces in a response, never with their secrets."""
    connected: frozenset[UUID] = frozenset()
    if any(workspace.connects for workspace in workspaces):
        connected = await context.registry.connected_workspaces()
    return [_workspace_view(context, each, each.id in connected) for each in workspaces]


def _workspace_view(
    context: PlatformContext, workspace: Workspace, connected: bool
) -> dict[str, object]:
    heard = context.heartbeats.latest(workspace.id)
    if heard is None or (workspace.last_heartbeat_at or heard) > heard:
        heard = workspace.last_heartbeat_at
    view: dict[str, object] = {
        "id": str(workspace.id),
        "name": workspace.name,
        "url": workspace.url,
        "status": _status(workspace, heard, context.heartbeats.now()),
        "delivery_mode": workspace.delivery_mode,
        "last_heartbeat_at": time_text(heard),
    }
    if workspace.connects:
        seen_at = time_text(workspace.channel_seen_at)
        view["channel"] = {"connected": connected, "seen_at": seen_at}
    return view


def _status(workspace: Workspace, heard: datetime | None, now: datetime) -> str | None:
    """:return: the stored status, or ``offline`` for a workspace that sends no heartbeats."""
    if workspace.status == ONLINE and (heard is None or now - heard > OFFLINE_AFTER):
        return "offline"
    return workspace.status


def _limit(query: Mapping[bytes, Sequence[bytes]]) -> int:
    """
    :return: the largest number of workspaces on the page.
    :raise BadRequest: ``limit`` is not a number from 1 to `MAX_PAGE`.
    """
    given = query.get(b"limit", [b"%d" % MAX_PAGE])
    limit = int(given[0]) if len(given) == 1 and re.fullmatch(rb"[0-9]{1,9}", given[0]) else 0
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit must be a number from 1 to {MAX_PAGE}", code="invalid_limit")
    return limit


def _after(query: Mapping[bytes, Sequence[bytes]]) -> UUID | None:
    """
    :return: the id of the workspace after which the page begins; ``None`` for the first page.
    :raise BadRequest: ``after`` is not a UUID.
    """
    given = query.get(b"after", [])
    if not given:
        return None
    after = parse_uuid(given[0].decode("ascii", "replace"))
    if after is None or len(given) > 1:
        raise BadRequest("after must be the id of a workspace", code="invalid_after")
    return after


async def list_workspaces(context: PlatformContext, request: Request) -> JSONResponse:
    """:return: a response with one page of workspaces, and with ``next`` if more follow."""
    query = parse_query(request.query)
    limit, after = _limit(query), _after(query)
    rows: Sequence[Workspace] = await context.registry.workspaces(limit=limit + 1, after=after)
    page = rows[:limit]
    body: dict[str, object] = {"workspaces": await _workspace_views(context, page)}
    if len(rows) > limit:
        body["next"] = str(page[-1].id)
    return JSONResponse(200, body)


async def create_workspace(context: PlatformContext, request: Request) -> JSONResponse:
    """
    Add a workspace, with an inbound secret and a first token.

    :return: the response with the token.
    """
    body = await read_json(request, optional=True)
    workspace_id = required_id(body, "id") if body.get("id") is not None else uuid4()
    request.workspace = str(workspace_id)
    url = optional_text(body, "url", MAX_URL_LENGTH) or None
    if url is not None:
        await require_allowed(url, context.check_url)
    name = optional_text(body, "name") or str(workspace_id)
    mode = optional_text(body, "delivery_mode")
    token = context.make_secret()
    workspace = await context.registry.create_workspace(
        workspace_id,
        name=name,
        url=url,
        delivery_mode=mode if mode is not None else PUSH,
        secret=context.make_secret(),
        **token_columns(token, ALL_SCOPES),
        token_name="created with the workspace",  # noqa: S106 - no password
    )
    return JSONResponse(201, {"id": str(workspace.id), "name": workspace.name, "auth_token": token})


async def show_workspace(
    context: PlatformContext, _request: Request, workspace_id: UUID
) -> JSONResponse:
    """:return: a response with the description of one workspace."""
    # A cached workspace may lack the latest heartbeat.
    workspace = await context.registry.fresh_workspace(workspace_id)
    if workspace is None:
        raise error_texts.no_workspace()
    (view,) = await _workspace_views(context, [workspace])
    return JSONResponse(200, view)


async def remove_workspace(
    context: PlatformContext, _request: Request, workspace_id: UUID
) -> JSONResponse:
    """Remove a workspace and revoke its tokens."""
    if not await context.registry.remove_workspace(workspace_id):
        raise error_texts.no_workspace()
    return JSONResponse(204)
