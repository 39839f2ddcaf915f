"""
The platform's table of routes.

A handler is a coroutine function of the context, the request and the path's parameters.  Before it
is called, the client's access to the route has been checked (see
`chatfiles.platform.authentication.Access`), and ``workspace_id`` has been parsed as a UUID.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from chatfiles.http.server.probes import health, ready
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.http.server.router import ANY, Route, Router
from chatfiles.model import parse_uuid
from chatfiles.platform import error_texts
from chatfiles.platform.authentication import Access
from chatfiles.platform.routes import resumable
from chatfiles.platform.routes.channel import open_channel
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.platform.routes.download import download, file
from chatfiles.platform.routes.fs import archive, archive_of_paths, digest, entries, roots
from chatfiles.platform.routes.links import create_link, revoke_links
from chatfiles.platform.routes.openapi import load_document, show_document
from chatfiles.platform.routes.opened_links import (
    open_archive,
    open_file,
    open_upload,
    prepare_link,
)
from chatfiles.platform.routes.page import PAGE_ROUTES, load_page
from chatfiles.platform.routes.registration import heartbeat, register
from chatfiles.platform.routes.secrets import rotate_secret
from chatfiles.platform.routes.tokens import (
    create_token,
    list_tokens,
    revoke_token,
    show_token,
    whoami,
)
from chatfiles.platform.routes.upload import upload, upload_limits
from chatfiles.platform.routes.workspaces import (
    create_workspace,
    list_workspaces,
    remove_workspace,
    show_workspace,
)
from chatfiles.platform.routes.writes import delete_file, make_directory, move, put_file
from chatfiles.rules.channel_upgrade import CHANNEL_PATH

__all__ = ["DOWNLOAD", "ROUTES", "platform_tree"]

ANYONE, ADMIN = Access.ANYONE, Access.ADMIN
WORKSPACE, READ, WRITE, LINK = Access.WORKSPACE, Access.READ, Access.WRITE, Access.LINK
AGENT, REGISTER, ANY_TOKEN = Access.AGENT, Access.REGISTER, Access.ANY_TOKEN


async def _check(platform: PlatformContext) -> None:
    await platform.registry.check()


#: A route whose requests are forwarded to a workspace.
forwarded = partial(Route[Access], ends_with_client=True)

#: A route of one resumable upload.
_UPLOADS = "/workspaces/{workspace_id}/uploads"
_UPLOAD = _UPLOADS + "/{upload_id}"
_tus = partial(forwarded, overrides=True)

#: The routes of resumable uploads, which an option switches off.
RESUMABLE: tuple[Route[Access], ...] = (
    forwarded("POST", _UPLOADS, WRITE, "upload", resumable.create),
    Route("OPTIONS", _UPLOADS, ANYONE, "", resumable.describe),
    _tus("PATCH", _UPLOAD, WRITE, "upload", resumable.append),
    _tus("HEAD", _UPLOAD, WRITE, "upload-state", resumable.state),
    _tus("DELETE", _UPLOAD, WRITE, "upload-remove", resumable.remove),
    forwarded("GET", _UPLOAD, WRITE, "upload-state", resumable.files),
    Route("OPTIONS", _UPLOAD, ANYONE, "", resumable.describe_upload),
)

#: Also served on the fast path.
DOWNLOAD = forwarded("GET", "/workspaces/{workspace_id}/chat/download", READ, "download", download)

#: Method, path, access, name in the access log, handler.
ROUTES: tuple[Route[Access], ...] = (
    Route("GET", "/health", ANYONE, "", health("platform")),
    Route(
        "GET",
        "/ready",
        ANYONE,
        "",
        ready("platform", _check, lambda context: context.node.warnings),
    ),
    Route("GET", "/openapi.json", ANYONE, "", show_document),
    # files
    DOWNLOAD,
    forwarded("POST", "/workspaces/{workspace_id}/chat/uploads", WRITE, "upload", upload),
    Route("GET", "/uploads/limits", ANYONE, "", upload_limits),
    forwarded("GET", "/workspaces/{workspace_id}/fs/file", READ, "download", file),
    forwarded("GET", "/workspaces/{workspace_id}/fs/roots", READ, "list", roots),
    forwarded("GET", "/workspaces/{workspace_id}/fs/entries", READ, "list", entries),
    forwarded("GET", "/workspaces/{workspace_id}/fs/archive", READ, "archive", archive),
    forwarded("POST", "/workspaces/{workspace_id}/fs/archive", READ, "archive", archive_of_paths),
    forwarded("GET", "/workspaces/{workspace_id}/fs/digest", READ, "digest", digest),
    forwarded("PUT", "/workspaces/{workspace_id}/fs/file", WRITE, "write", put_file),
    forwarded("DELETE", "/workspaces/{workspace_id}/fs/file", WRITE, "delete", delete_file),
    forwarded("POST", "/workspaces/{workspace_id}/fs/directories", WRITE, "mkdir", make_directory),
    forwarded("POST", "/workspaces/{workspace_id}/fs/move", WRITE, "move", move),
    *RESUMABLE,
    # signed links
    Route(
        "POST", "/workspaces/{workspace_id}/links", LINK, "link", create_link, rights="link.create"
    ),
    Route(
        "DELETE", "/workspaces/{workspace_id}/links", ADMIN, "", revoke_links, rights="link.revoke"
    ),
    # The link is checked before the method, so the handlers check both.
    forwarded(ANY, "/links/file", ANYONE, "download", open_file),
    forwarded(ANY, "/links/archive", ANYONE, "archive", open_archive),
    forwarded(ANY, "/links/upload", ANYONE, "upload", open_upload),
    # agents
    Route("POST", "/registry/register", REGISTER, "register", register),
    Route("POST", "/registry/heartbeat", AGENT, "", heartbeat),
    Route("GET", CHANNEL_PATH, Access.CHANNEL, "", open_channel),
    Route("GET", "/token", ANY_TOKEN, "", show_token),
    Route("GET", "/whoami", ANY_TOKEN, "", whoami),
    # administration
    Route("GET", "/workspaces", ADMIN, "", list_workspaces),
    Route("POST", "/workspaces", ADMIN, "", create_workspace, rights="workspace.create"),
    Route("GET", "/workspaces/{workspace_id}", WORKSPACE, "", show_workspace),
    Route(
        "DELETE",
        "/workspaces/{workspace_id}",
        ADMIN,
        "",
        remove_workspace,
        rights="workspace.remove",
    ),
    Route(
        "POST",
        "/workspaces/{workspace_id}/secret/rotate",
        ADMIN,
        "",
        rotate_secret,
        rights="secret.rotate",
    ),
    Route("GET", "/workspaces/{workspace_id}/tokens", ADMIN, "", list_tokens),
    Route(
        "POST",
        "/workspaces/{workspace_id}/tokens",
        ADMIN,
        "",
        create_token,
        rights="token.create",
    ),
    Route(
        "DELETE",
        "/workspaces/{workspace_id}/tokens/{token_id}",
        ADMIN,
        "",
        revoke_token,
        rights="token.revoke",
    ),
    # the web page
    *PAGE_ROUTES,
)


def platform_tree(context: PlatformContext) -> Router[Access]:
    """
    :param context: passed to the handlers.
    :return: the platform's resources; `Router` describes where they can be mounted.
    """
    load_document()
    if context.ui:
        load_page()
    without = set[Route[Access]]() if context.ui else set(PAGE_ROUTES)
    if not context.limits.resumable_bytes:
        without |= set(RESUMABLE)
    routes = [route for route in ROUTES if route not in without]
    return Router(routes, partial(_dispatch, context), partial(_prepare, context))


def _prepare(context: PlatformContext, request: Request) -> None:
    prepare_link(request)
    if context.limits.resumable_bytes:
        resumable.prepare(context, request)


async def _dispatch(
    context: PlatformContext, route: Route[Access], request: Request, parameters: Sequence[str]
) -> JSONResponse | None:
    """Check the client's access, then the id of the workspace, then call the handler."""
    admit = context.authenticator.admit
    if not parameters:
        await admit(request, route.access)
        return await route.handler(context, request)
    workspace_id = parse_uuid(parameters[0])
    request.workspace = str(workspace_id or "")
    await admit(request, route.access, workspace_id)
    if workspace_id is None and route.access is not ANYONE:  # which asks no workspace
        raise error_texts.invalid_id()
    return await route.handler(context, request, workspace_id, *parameters[1:])
