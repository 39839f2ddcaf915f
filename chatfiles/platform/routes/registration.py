"""
``/registry/register`` and ``/registry/heartbeat``: a workspace says that it is there (CONTRACT 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from chatfiles.errors import Conflict
from chatfiles.http.server.endpoint import Endpoint, JSONResponse, read_json
from chatfiles.http.server.request import Request
from chatfiles.model import ALL_SCOPES, Scope, Workspace
from chatfiles.platform import error_texts
from chatfiles.platform.authentication import Caller, token_columns
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.platform.routes.json_fields import (
    allowed_url,
    optional_text,
    printable_part,
    required_id,
)

__all__ = ["Heartbeat", "Register"]

#: The name of a token that a registration has minted.
FIRST_TOKEN = "first registration"  # noqa: S105 - no password


class _AgentEndpoint(Endpoint):
    def __init__(self, context: PlatformContext) -> None:
        super().__init__()
        self._context = context

    @staticmethod
    def _check(caller: Caller, workspace_id: UUID) -> None:
        """
        :raise chatfiles.errors.Unauthorized: the credential is of another workspace.
        :raise chatfiles.errors.Forbidden: it may not register.
        """
        if not caller.owns(workspace_id):
            raise error_texts.invalid_token()
        if not caller.allows(Scope.AGENT):
            raise error_texts.out_of_scope()

    async def _secret(self, workspace: Workspace) -> str | None:
        if workspace.inbound_secret:
            return workspace.inbound_secret
        context = self._context
        secret: str | None = await context.registry.ensure_secret(
            workspace.id, context.make_secret()
        )
        return secret


class Register(_AgentEndpoint):
    """``POST /registry/register``."""

    operation = "register"

    async def render_POST(self, request: Request) -> JSONResponse:
        """Note where the workspace is; give it its secret, and its first token if it has none."""
        context = self._context
        if await context.authenticator.caller(request) is None and not context.open_registration:
            raise error_texts.missing_token()
        body = await read_json(request)
        workspace_id = required_id(body, "id")
        request.workspace = str(workspace_id)
        await self._judged(request, workspace_id)
        url = await allowed_url(body, context.check_url)
        caller = await self._judged(request, workspace_id)  # the look-up may have taken seconds
        mode = optional_text(body, "delivery_mode")
        place = {
            "url": url,
            "delivery_mode": mode if mode is not None else ("push" if url else None),
        }
        name = self._name(body, workspace_id)
        if caller is None:
            return await self._claim(workspace_id, place, name)
        workspace = await context.registry.register(
            workspace_id, **place, create_name=name if caller.is_admin else None
        )
        token = await self._first_token(workspace_id) if caller.is_admin else None
        return await self._registered(workspace, token)

    async def _claim(self, workspace_id: UUID, place: Mapping[str, Any], name: str) -> JSONResponse:
        """Register without a credential: only a workspace that has none by now, either."""
        token = self._context.make_secret()
        try:
            workspace = await self._context.registry.claim(
                workspace_id,
                **place,
                create_name=name,
                **token_columns(token, ALL_SCOPES),
                name=FIRST_TOKEN,
            )
        except Conflict:  # somebody else was first
            raise error_texts.missing_token() from None
        return await self._registered(workspace, token)

    async def _registered(self, workspace: Workspace | None, token: str | None) -> JSONResponse:
        if workspace is None:
            raise error_texts.no_workspace()
        answer: dict[str, object] = {
            "status": "registered",
            "platform_inbound_secret": await self._secret(workspace),
        }
        if token is not None:
            answer["auth_token"] = token
        return JSONResponse(200, answer)

    async def _judged(self, request: Request, workspace_id: UUID) -> Caller | None:
        """
        :return: who registers the workspace; ``None`` when nobody has to show a credential for it.
        :raise chatfiles.errors.ChatfilesError: the caller may not register it, or not any more.
        """
        context = self._context
        caller = await context.authenticator.caller(request)
        if caller is not None:
            self._check(caller, workspace_id)
        elif not context.open_registration or await context.registry.has_live_token(workspace_id):
            # A registry error is no proof that there are none: it propagates (CONTRACT 4).
            raise error_texts.missing_token()
        return caller

    async def _first_token(self, workspace_id: UUID) -> str | None:
        token = self._context.make_secret()
        made = await self._context.registry.create_token(
            workspace_id, **token_columns(token, ALL_SCOPES), name=FIRST_TOKEN, only_first=True
        )
        return token if made is not None else None

    @staticmethod
    def _name(body: dict[str, Any], workspace_id: UUID) -> str:
        card = body.get("agent_card")
        # The card is its agent's affair: nothing in it is a reason to refuse.
        name = printable_part(card.get("name")) if isinstance(card, dict) else ""
        return name or str(workspace_id)


class Heartbeat(_AgentEndpoint):
    """``POST /registry/heartbeat``."""

    async def render_POST(self, request: Request) -> JSONResponse:
        """Note that the workspace is alive; tell it its secret, which may have changed."""
        context = self._context
        await context.authenticator.authenticate(request)
        workspace_id = required_id(await read_json(request), "workspace_id")
        # Once more: the token may have been revoked while the body was on its way.
        self._check(await context.authenticator.authenticate(request), workspace_id)
        workspace = await context.registry.workspace(workspace_id)
        if workspace is None:
            raise error_texts.no_workspace()
        context.heartbeats.note(workspace_id)
        return JSONResponse(
            200, {"status": "ok", "platform_inbound_secret": await self._secret(workspace)}
        )
