"""
``POST /workspaces/{workspace_id}/secret/rotate``: replaces the inbound secret of a workspace.
"""

from __future__ import annotations

from uuid import UUID

from twisted.logger import Logger

from chatfiles.http.server.json_body import read_json
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.model import token_prefix
from chatfiles.platform import error_texts
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.platform.routes.json_fields import optional_flag

__all__ = ["rotate_secret"]

_log = Logger()


async def rotate_secret(
    context: PlatformContext, request: Request, workspace_id: UUID
) -> JSONResponse:
    """
    Make a new inbound secret.  It is presented once the workspace has it, or at once if the request
    says ``force``.
    """
    force = optional_flag(await read_json(request, optional=True), "force")
    secret = context.make_secret()
    if not await context.registry.rotate_secret(workspace_id, secret, force=force):
        raise error_texts.no_workspace()
    state = "rotated" if force else "pending"
    _log.info("the inbound secret of {workspace}: {state}", workspace=workspace_id, state=state)
    if force:
        return JSONResponse(200, {"state": state, "prefix": token_prefix(secret)})
    return JSONResponse(202, {"state": state, "next_prefix": token_prefix(secret)})
