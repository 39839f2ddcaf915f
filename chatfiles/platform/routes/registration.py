"""
``/registry/register`` and ``/registry/heartbeat``: a workspace reports to the platform.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

from twisted.logger import Logger

from chatfiles.errors import BadRequest, Conflict, ConstraintViolated
from chatfiles.http.server.json_body import read_json
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.model import ALL_SCOPES, Workspace
from chatfiles.platform import error_texts
from chatfiles.platform.authentication import token_columns
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.platform.routes.json_fields import printable_part, require_allowed, required_id
from chatfiles.platform.routes.placement import Placement, placement
from chatfiles.rules.next_secret import acknowledges

__all__ = ["heartbeat", "register"]

_log = Logger()

T = TypeVar("T")
#: The JSON body of a workspace.
Said = dict[str, Any]

#: Changes of rights, for the audit log.  That of a workspace includes its first token.
WORKSPACE_CREATE, TOKEN_CREATE = "workspace.create", "token.create"
#: The name of a token that a registration has created.
FIRST_TOKEN = "first registration"  # noqa: S105 - no password
#: A heartbeat changes these statuses to ``online``.
_LIFTED = frozenset({"offline", "provisioning", "awaiting_agent"})


async def register(context: PlatformContext, request: Request) -> JSONResponse:
    """
    Store the workspace's URL and delivery mode.

    :return: the response, with the inbound secret, and with the first token if one was created.
    """
    body = await read_json(request)
    workspace_id = required_id(body, "id")
    request.workspace = str(workspace_id)
    may_register = context.authenticator.for_registration
    await may_register(request, workspace_id)
    known = await context.registry.workspace(workspace_id)
    place = placement(body, known)
    if place.check is not None:
        await require_allowed(place.check, context.check_url)
    # Check again: the look-up of the host name may have taken seconds.
    client = await may_register(request, workspace_id)
    if client is None:
        response = await _claim(context, workspace_id, place, body)
        request.rights = TOKEN_CREATE if known else WORKSPACE_CREATE
        return response
    is_admin = client.is_admin
    workspace = await _with_name(
        body,
        workspace_id,
        lambda name: context.registry.register(
            workspace_id,
            url=place.url,
            delivery_mode=place.delivery_mode,
            create_name=name if is_admin else None,
        ),
    )
    if known is None and workspace is not None:
        request.rights = WORKSPACE_CREATE
    token = await _first_token(context, workspace_id) if is_admin else None
    if token is not None:
        request.rights = request.rights or TOKEN_CREATE
    return await _registered(context, workspace, body, token)


async def heartbeat(context: PlatformContext, request: Request) -> JSONResponse:
    """
    Record that the workspace is alive.

    :return: the response, with the inbound secret, which may have changed.
    """
    body = await read_json(request)
    workspace_id = required_id(body, "workspace_id")
    # Check again: the token may have been revoked before the body arrived.
    await context.authenticator.for_agent(request, workspace_id)
    workspace = await context.registry.workspace(workspace_id)
    if workspace is None:
        raise error_texts.no_workspace()
    if workspace.status in _LIFTED:
        await context.registry.register(
            workspace_id, url=None, delivery_mode=None, create_name=None
        )
    else:
        context.heartbeats.record(workspace_id)
    return JSONResponse(200, {"status": "ok", **await _secrets(context, workspace, body)})


async def _claim(
    context: PlatformContext, workspace_id: UUID, place: Placement, body: Said
) -> JSONResponse:
    """Register a workspace without a credential, if it still has no live token."""
    token = context.make_secret()
    try:
        workspace = await _with_name(
            body,
            workspace_id,
            lambda name: context.registry.claim(
                workspace_id,
                url=place.url,
                delivery_mode=place.delivery_mode,
                create_name=name,
                **token_columns(token, ALL_SCOPES),
                name=FIRST_TOKEN,
            ),
        )
    except Conflict:  # another client was first
        raise error_texts.missing_token() from None
    return await _registered(context, workspace, body, token)


async def _registered(
    context: PlatformContext, workspace: Workspace | None, said: Said, token: str | None
) -> JSONResponse:
    if workspace is None:
        raise error_texts.no_workspace()
    secrets = await _secrets(context, workspace, said)
    body = {"status": "registered", **secrets, "delivery_mode": workspace.delivery_mode}
    if token is not None:
        body["auth_token"] = token
    return JSONResponse(200, body)


async def _secrets(
    context: PlatformContext, workspace: Workspace, said: Said
) -> dict[str, str | None]:
    """
    :param said: what the workspace sends.  It may say that it has the next secret, which then
        becomes the inbound secret, and that it takes a next secret.
    :return: the members of the response with the secrets.
    """
    if given := said.get("next_secret"):
        workspace = await _promoted(context, workspace, given)
    shown = {"platform_inbound_secret": await _secret(context, workspace)}
    if said.get("accepts_next_secret") is True and workspace.next_secret:
        shown["next_platform_inbound_secret"] = workspace.next_secret
    return shown


async def _promoted(context: PlatformContext, known: Workspace, given: object) -> Workspace:
    """:return: the workspace, whose next secret has become the inbound secret if it has it."""
    # Not from the cache: another node may just have promoted it, or replaced it.
    workspace = await context.registry.fresh_workspace(known.id) or known
    if not workspace.next_secret or not acknowledges(given, workspace.next_secret):
        return workspace
    promoted = await context.registry.promote_secret(workspace.id, workspace.next_secret)
    if promoted is not None and promoted.inbound_secret == workspace.next_secret:
        _log.info("the inbound secret of {workspace}: rotated", workspace=workspace.id)
    return promoted or workspace


async def _secret(context: PlatformContext, workspace: Workspace) -> str | None:
    """:return: the workspace's inbound secret, which is created if it has none."""
    if workspace.inbound_secret:
        return workspace.inbound_secret
    secret: str | None = await context.registry.ensure_secret(workspace.id, context.make_secret())
    return secret


async def _first_token(context: PlatformContext, workspace_id: UUID) -> str | None:
    """:return: a new token of a workspace that has none; ``None`` if it has one."""
    token = context.make_secret()
    made = await context.registry.create_token(
        workspace_id, **token_columns(token, ALL_SCOPES), name=FIRST_TOKEN, only_first=True
    )
    return token if made is not None else None


async def _with_name(body: Said, workspace_id: UUID, change: Callable[[str], Awaitable[T]]) -> T:
    """
    Make *change* with the name in the agent's card.  If the tables belong to a third party and do
    not accept it, for example because names must be unique there, make it with the id as name: no
    content of the card may prevent the registration.
    """
    name, without = _card_name(body), str(workspace_id)
    try:
        return await change(name or without)
    except (ConstraintViolated, BadRequest):
        if not name:
            raise
    return await change(without)


def _card_name(body: Said) -> str:
    card = body.get("agent_card")
    return printable_part(card.get("name")) if isinstance(card, dict) else ""
