"""
Workspaces and tokens, for the admin (CONTRACT 4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID, uuid4

from chatfiles.errors import BadRequest, NotFound
from chatfiles.model import ALL_SCOPES, Token, Workspace, parse_workspace_id
from chatfiles.platform import refusals
from chatfiles.platform.body import allowed_url, optional_text, required_id, scopes_of
from chatfiles.platform.context import PlatformContext
from chatfiles.platform.resolve import require_id
from chatfiles.platform.tokens import kept
from chatfiles.query import parse_query
from chatfiles.resource import Answer, Endpoint, read_json
from chatfiles.web.request import Request

__all__ = ["TokenCollection", "TokenItem", "WorkspaceCollection", "WorkspaceItem"]

#: Workspaces in one answer, at most and unless fewer are asked for: a few milliseconds of work.
MAX_PAGE = 1000


def _time(value: datetime | None) -> str | None:
    return value.isoformat() if value is not None else None


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
        "last_heartbeat_at": _time(heard),
    }


def _token_view(token: Token) -> dict[str, object]:
    return {
        "id": str(token.id),
        "name": token.name,
        "prefix": token.prefix,
        "scopes": sorted(token.scopes),
        "created_at": _time(token.created_at),
        "last_used_at": _time(token.last_used_at),
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


class _AdminEndpoint(Endpoint):
    def __init__(self, context: PlatformContext) -> None:
        super().__init__()
        self._context = context


class WorkspaceCollection(_AdminEndpoint):
    """``/workspaces``."""

    async def render_GET(self, request: Request) -> Answer:
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
        return Answer(200, answer)

    async def render_POST(self, request: Request) -> Answer:
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
            **kept(token, ALL_SCOPES),
            token_name="created with the workspace",  # noqa: S106 - no password
        )
        return Answer(201, {"id": str(workspace.id), "name": workspace.name, "auth_token": token})


class WorkspaceItem(_AdminEndpoint):
    """``/workspaces/{id}``."""

    def __init__(self, context: PlatformContext, workspace_id: UUID | None) -> None:
        super().__init__(context)
        self._workspace_id = workspace_id

    async def render_GET(self, request: Request) -> Answer:
        """One, for the admin and for any token of it."""
        await self._context.authenticator.for_workspace(request, self._workspace_id, None)
        # What is remembered does not know of the latest heartbeat.
        workspace_id = require_id(self._workspace_id)
        workspace = await self._context.registry.fresh_workspace(workspace_id)
        if workspace is None:
            raise refusals.no_workspace()
        return Answer(200, _workspace_view(self._context, workspace))

    async def render_DELETE(self, request: Request) -> Answer:
        """Remove it and revoke its tokens."""
        await self._context.authenticator.admin(request)
        if not await self._context.registry.remove_workspace(require_id(self._workspace_id)):
            raise refusals.no_workspace()
        return Answer(204)


class TokenCollection(_AdminEndpoint):
    """``/workspaces/{id}/tokens``."""

    def __init__(self, context: PlatformContext, workspace_id: UUID | None) -> None:
        super().__init__(context)
        self._workspace_id = workspace_id

    async def render_GET(self, request: Request) -> Answer:
        """The live ones; never the tokens themselves."""
        registry = self._context.registry
        await self._context.authenticator.admin(request)
        workspace_id = require_id(self._workspace_id)
        if await registry.workspace(workspace_id) is None:
            raise refusals.no_workspace()
        return Answer(
            200, {"tokens": [_token_view(token) for token in await registry.tokens(workspace_id)]}
        )

    async def render_POST(self, request: Request) -> Answer:
        """Add one; this is the only time that it is shown."""
        await self._context.authenticator.admin(request)
        workspace_id = require_id(self._workspace_id)
        body = await read_json(request) if request.body.length != 0 else {}
        scopes, name = scopes_of(body), optional_text(body, "name")
        text = self._context.make_secret()
        token = await self._context.registry.create_token(
            workspace_id, **kept(text, scopes), name=name
        )
        if token is None:
            raise refusals.no_workspace()
        return Answer(
            201,
            {
                "id": str(token.id),
                "token": text,
                "prefix": token.prefix,
                "scopes": sorted(token.scopes),
            },
        )


class TokenItem(_AdminEndpoint):
    """``/workspaces/{id}/tokens/{token_id}``."""

    def __init__(
        self, context: PlatformContext, workspace_id: UUID | None, token_id: UUID | None
    ) -> None:
        super().__init__(context)
        self._workspace_id = workspace_id
        self._token_id = token_id

    async def render_DELETE(self, request: Request) -> Answer:
        """Revoke it; a running transfer goes on."""
        await self._context.authenticator.admin(request)
        workspace_id = require_id(self._workspace_id)
        known = self._token_id is not None and await self._context.registry.revoke_token(
            workspace_id, self._token_id
        )
        if not known:
            raise NotFound("token not found", code="token_not_found")
        return Answer(204)
