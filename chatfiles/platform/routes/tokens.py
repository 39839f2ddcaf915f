"""
The tokens of a workspace, for the admin (CONTRACT 4).
"""

from __future__ import annotations

from uuid import UUID

from chatfiles.errors import NotFound
from chatfiles.http.server.endpoint import JSONResponse, read_json
from chatfiles.http.server.request import Request
from chatfiles.model import Token
from chatfiles.platform import error_texts
from chatfiles.platform.authentication import token_columns
from chatfiles.platform.forwarding.resolver import require_id
from chatfiles.platform.routes.context import PlatformContext, PlatformEndpoint
from chatfiles.platform.routes.json_fields import optional_text, scopes_of, time_text

__all__ = ["TokenCollection", "TokenItem"]


def _token_view(token: Token) -> dict[str, object]:
    return {
        "id": str(token.id),
        "name": token.name,
        "prefix": token.prefix,
        "scopes": sorted(token.scopes),
        "created_at": time_text(token.created_at),
        "last_used_at": time_text(token.last_used_at),
    }


class TokenCollection(PlatformEndpoint):
    """``/workspaces/{id}/tokens``."""

    def __init__(self, context: PlatformContext, workspace_id: UUID | None) -> None:
        super().__init__(context)
        self._workspace_id = workspace_id

    async def render_GET(self, request: Request) -> JSONResponse:
        """The live ones; never the tokens themselves."""
        registry = self._context.registry
        await self._context.authenticator.admin(request)
        workspace_id = require_id(self._workspace_id)
        if await registry.workspace(workspace_id) is None:
            raise error_texts.no_workspace()
        return JSONResponse(
            200, {"tokens": [_token_view(token) for token in await registry.tokens(workspace_id)]}
        )

    async def render_POST(self, request: Request) -> JSONResponse:
        """Add one; this is the only time that it is shown."""
        await self._context.authenticator.admin(request)
        workspace_id = require_id(self._workspace_id)
        body = await read_json(request) if request.body.length != 0 else {}
        scopes, name = scopes_of(body), optional_text(body, "name")
        text = self._context.make_secret()
        token = await self._context.registry.create_token(
            workspace_id, **token_columns(text, scopes), name=name
        )
        if token is None:
            raise error_texts.no_workspace()
        return JSONResponse(
            201,
            {
                "id": str(token.id),
                "token": text,
                "prefix": token.prefix,
                "scopes": sorted(token.scopes),
            },
        )


class TokenItem(PlatformEndpoint):
    """``/workspaces/{id}/tokens/{token_id}``."""

    def __init__(
        self, context: PlatformContext, workspace_id: UUID | None, token_id: UUID | None
    ) -> None:
        super().__init__(context)
        self._workspace_id = workspace_id
        self._token_id = token_id

    async def render_DELETE(self, request: Request) -> JSONResponse:
        """Revoke it; a running transfer goes on."""
        await self._context.authenticator.admin(request)
        workspace_id = require_id(self._workspace_id)
        known = self._token_id is not None and await self._context.registry.revoke_token(
            workspace_id, self._token_id
        )
        if not known:
            raise NotFound("token not found", code="token_not_found")
        return JSONResponse(204)
