"""
``/workspaces/{workspace_id}/tokens``: an administrator lists, creates and revokes tokens.
``/token`` and ``/whoami``: the holder of a token asks what it opens.
"""

from __future__ import annotations

from uuid import UUID

from chatfiles.errors import NotFound
from chatfiles.http.server.json_body import read_json
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.model import ALL_SCOPES, Scope, Token, Workspace, parse_uuid
from chatfiles.platform import error_texts
from chatfiles.platform.authentication import Client, token_columns
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.platform.routes.json_fields import optional_text, scopes_of, time_text

__all__ = ["create_token", "list_tokens", "revoke_token", "show_token", "whoami"]


def _token_view(token: Token) -> dict[str, object]:
    """:return: the description of a token in a response, never with the token itself."""
    return {
        "id": str(token.id),
        "name": token.name,
        "prefix": token.prefix,
        "scopes": sorted(token.scopes),
        "created_at": time_text(token.created_at),
        "last_used_at": time_text(token.last_used_at),
    }


async def show_token(context: PlatformContext, request: Request) -> JSONResponse:
    """:return: a response that says what the token of the request opens."""
    client, workspace = await _holder(context, request)
    own = {"id": str(workspace.id), "name": workspace.name} if workspace is not None else None
    return JSONResponse(200, {"workspace": own, "scopes": _scopes(client)})


async def whoami(context: PlatformContext, request: Request) -> JSONResponse:
    """:return: a response that says whose token that of the request is, and what it allows."""
    client, workspace = await _holder(context, request)
    return JSONResponse(
        200,
        {
            "workspace": str(workspace.id) if workspace is not None else None,
            "name": workspace.name if workspace is not None else None,
            "scopes": _scopes(client),
            "admin": client.is_admin,
            "token_id": context.authenticator.token_id(client),
        },
    )


async def _holder(context: PlatformContext, request: Request) -> tuple[Client, Workspace | None]:
    """:return: the holder of the request's token, and its workspace; ``None`` for the admin."""
    client = await context.authenticator.client(request)
    if client is None:
        raise error_texts.missing_token()
    if client.token is None:
        return client, None
    workspace = await context.registry.workspace(client.token.workspace_id)
    if workspace is None:
        raise error_texts.invalid_token()
    return client, workspace


def _scopes(client: Client) -> list[Scope]:
    return sorted(ALL_SCOPES if client.token is None else client.token.scopes)


async def list_tokens(
    context: PlatformContext, _request: Request, workspace_id: UUID
) -> JSONResponse:
    """:return: a response with the workspace's live tokens."""
    if await context.registry.workspace(workspace_id) is None:
        raise error_texts.no_workspace()
    tokens = await context.registry.tokens(workspace_id)
    return JSONResponse(200, {"tokens": [_token_view(token) for token in tokens]})


async def create_token(
    context: PlatformContext, request: Request, workspace_id: UUID
) -> JSONResponse:
    """
    Add a token to the workspace.

    :return: the response with the token; no other response shows it.
    """
    body = await read_json(request, optional=True)
    scopes, name = scopes_of(body), optional_text(body, "name")
    text = context.make_secret()
    token = await context.registry.create_token(
        workspace_id, **token_columns(text, scopes), name=name
    )
    if token is None:
        raise error_texts.no_workspace()
    shown = {"prefix": token.prefix, "scopes": sorted(token.scopes)}
    request.touched = {"subject": str(token.id)}
    return JSONResponse(201, {"id": str(token.id), "token": text, **shown})


async def revoke_token(
    context: PlatformContext, request: Request, workspace_id: UUID, token_id: str
) -> JSONResponse:
    """Revoke a token.  Running transfers continue."""
    token_uuid = parse_uuid(token_id)
    if token_uuid is not None:
        request.touched = {"subject": str(token_uuid)}
    if token_uuid is None or not await context.registry.revoke_token(workspace_id, token_uuid):
        raise NotFound("token not found", code="token_not_found")
    return JSONResponse(204)
