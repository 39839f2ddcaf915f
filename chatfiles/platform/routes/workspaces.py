"""
Workspaces, for the admin (CONTRACT 4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from uuid import UUID, uuid4

from chatfiles.errors import BadRequest
from chatfiles.http.server.endpoint import JSONResponse, read_json
from chatfiles.http.server.request import Request
from chatfiles.model import ALL_SCOPES, Workspace, parse_workspace_id
from chatfiles.platform import error_texts
from chatfiles.platform.authentication import token_columns
from chatfiles.platform.forwarding.resolver import require_id
from chatfiles.platform.routes.context import PlatformContext, PlatformEndpoint
from chatfiles.platform.routes.json_fields import allowed_url, optional_text, required_id, time_text
from chatfiles.rules.query import parse_query

__all__ = ["WorkspaceCollection", "WorkspaceItem"]

#: Workspaces in one answer, at most and unless fewer are asked for: a few milliseconds of work.
MAX_PAGE = 1000


def _workspace_view(context: PlatformContext, workspace: Workspace) -> dict[str, object]:
    """What may be told of a workspace: never its secret."""
    heard = context.heartbeats.latest(workspace.id)
    if heard is None or (workspace.last_heartbeat_at or heard) > heard:
        heard = workspace.last_heartbeat_at
    return {
        "id": str(workspace.id),
        "name": workspace.name,
        "url": workspace.url,
        "status": workspace.status,
        "delivery_mode": workspace.delivery_mode,
        "last_heartbeat_at": time_text(heard),
    }


def _limit(query: Mapping[bytes, Sequence[bytes]]) -> int:
    """
    :return: how many rows a page may have.
    :raise BadRequest: it is no number from 1 to `MAX_PAGE`.
    """
    given = query.get(b"limit", [b"%d" % MAX_PAGE])
    limit = int(given[0]) if len(given) == 1 and re.fullmatch(rb"[0-9]{1,9}", given[0]) else 0
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit must be a number from 1 to {MAX_PAGE}", code="invalid_limit")
    return limit


def _after(query: Mapping[bytes, Sequence[bytes]]) -> UUID | None:
    """
    :return: the workspace behind which a page begins; ``None`` for the first page.
    :raise BadRequest: it is no UUID.
    """
    given = query.get(b"after", [])
    if not given:
        return None
    after = parse_workspace_id(given[0].decode("ascii", "replace"))
    if after is None or len(given) > 1:
        raise BadRequest("after must be the id of a workspace", code="invalid_after")
    return after


class WorkspaceCollection(PlatformEndpoint):
    """``/workspaces``."""

    async def render_GET(self, request: Request) -> JSONResponse:
        """All of them, or a page; ``next`` is there if more come behind it."""
        await self._context.authenticator.admin(request)
        query = parse_query(request.query)
        limit, after = _limit(query), _after(query)
        rows: Sequence[Workspace] = await self._context.registry.workspaces(
            limit=limit + 1, after=after
        )
        page = rows[:limit]
        answer: dict[str, object] = {
            "workspaces": [_workspace_view(self._context, row) for row in page]
        }
        if len(rows) > limit:
            answer["next"] = str(page[-1].id)
        return JSONResponse(200, answer)

    async def render_POST(self, request: Request) -> JSONResponse:
        """Add one, with an inbound secret and its first token."""
        context = self._context
        await context.authenticator.admin(request)
        body = await read_json(request) if request.body.length != 0 else {}
        workspace_id = required_id(body, "id") if body.get("id") is not None else uuid4()
        url = await allowed_url(body, context.check_url)
        name = optional_text(body, "name") or str(workspace_id)
        mode = optional_text(body, "delivery_mode")
        token = context.make_secret()
        workspace = await context.registry.create_workspace(
            workspace_id,
            name=name,
            url=url,
            delivery_mode=mode if mode is not None else "push",
            secret=context.make_secret(),
            **token_columns(token, ALL_SCOPES),
            token_name="created with the workspace",  # noqa: S106 - no password
        )
        return JSONResponse(
            201, {"id": str(workspace.id), "name": workspace.name, "auth_token": token}
        )


class WorkspaceItem(PlatformEndpoint):
    """``/workspaces/{id}``."""

    def __init__(self, context: PlatformContext, workspace_id: UUID | None) -> None:
        super().__init__(context)
        self._workspace_id = workspace_id

    async def render_GET(self, request: Request) -> JSONResponse:
        """One, for the admin and for any token of it."""
        await self._context.authenticator.for_workspace(request, self._workspace_id, None)
        # What is remembered does not know of the latest heartbeat.
        workspace_id = require_id(self._workspace_id)
        workspace = await self._context.registry.fresh_workspace(workspace_id)
        if workspace is None:
            raise error_texts.no_workspace()
        return JSONResponse(200, _workspace_view(self._context, workspace))

    async def render_DELETE(self, request: Request) -> JSONResponse:
        """Remove it and revoke its tokens."""
        await self._context.authenticator.admin(request)
        if not await self._context.registry.remove_workspace(require_id(self._workspace_id)):
            raise error_texts.no_workspace()
        return JSONResponse(204)
