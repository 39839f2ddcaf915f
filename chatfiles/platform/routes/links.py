"""
``/workspaces/{workspace_id}/links``: makes signed links, and revokes those of a workspace.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from chatfiles.http.server.json_body import read_json
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.platform import error_texts
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.rules.entry_json import format_time, ref_of
from chatfiles.rules.link_request import LinkLimits, link_operation, link_request, scope_of
from chatfiles.rules.touched_paths import touched_paths

__all__ = ["create_link", "revoke_links"]

_SECOND_NS = 1_000_000_000


async def create_link(
    context: PlatformContext, request: Request, workspace_id: UUID
) -> JSONResponse:
    """Make a link that is bound to the token of the request."""
    body = await read_json(request)
    operation = link_operation(body)
    token_id = await context.authenticator.for_link(request, workspace_id, scope_of(operation))
    limits = context.limits
    most = LinkLimits(limits.per_request_bytes, limits.max_files_per_request)
    asked = link_request(body, operation, most)
    if asked.path:
        request.touched = touched_paths([asked.path])
    made = await context.links.make(workspace_id, asked, token_id)
    shown: dict[str, Any] = {
        "url": made.url,
        "expires_at": format_time(made.expires * _SECOND_NS),
        "operation": asked.operation.value,
    }
    if asked.path:
        shown["ref"] = ref_of(asked.path)
    return JSONResponse(201, shown)


async def revoke_links(
    context: PlatformContext, _request: Request, workspace_id: UUID
) -> JSONResponse:
    """Revoke all links of the workspace.  Running transfers continue."""
    if not await context.registry.revoke_links(workspace_id):
        raise error_texts.no_workspace()
    return JSONResponse(204)
