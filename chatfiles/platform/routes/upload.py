"""
``POST /workspaces/{id}/chat/uploads``: judged by its head, passed on as it arrives (CONTRACT 7).
"""

from __future__ import annotations

from uuid import UUID

from chatfiles.errors import UpstreamFailed
from chatfiles.http.server.endpoint import Endpoint, JSONResponse
from chatfiles.http.server.request import Request
from chatfiles.model import Scope
from chatfiles.platform import error_texts
from chatfiles.platform.forwarding.gateway import discard
from chatfiles.platform.forwarding.requests import UploadRequest
from chatfiles.platform.forwarding.resolver import require_id
from chatfiles.platform.forwarding.response import copy_headers, relay_body, sanitize_headers
from chatfiles.platform.forwarding.upload_body import UploadBody
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.rules.upload_head import check_upload_head
from chatfiles.streams.stall_timeout import StallTimeout

__all__ = ["Upload"]


class Upload(Endpoint):
    """
    Files for a workspace.

    :param workspace_id: from the URL; ``None`` when it is not a UUID.
    """

    operation = "upload"
    ends_with_caller = True

    def __init__(self, context: PlatformContext, workspace_id: UUID | None) -> None:
        super().__init__()
        self._context = context
        self._workspace_id = workspace_id

    async def render_POST(self, request: Request) -> JSONResponse | None:
        """Pass the form on and relay what the workspace says."""
        context = self._context
        request.workspace = str(self._workspace_id or "")
        await context.authenticator.for_workspace(request, self._workspace_id, Scope.WRITE)
        workspace_id = require_id(self._workspace_id)
        target = await context.resolver.resolve(workspace_id, "upload")
        fields, limit = request.requestHeaders, context.limits.per_request_bytes
        check_upload_head(fields, request.body.length, limit)
        body = UploadBody(request.body, limit)
        store = UploadRequest(
            content_type=(fields.getRawHeaders(b"content-type") or [b""])[0],
            body=body,
            request_id=request.request_id,
        )
        stuck = StallTimeout(context.clock, context.idle_timeout, body.progress, body.give_up)
        try:
            response = await context.gateway.store(target, store)
        except UpstreamFailed as error:
            raise body.error or error from None
        finally:
            stuck.stop()
        if body.error is not None:
            discard(response)
            raise body.error
        if response.code == 401:
            # Nobody can send the body twice; but the next one shall find the new secret.
            discard(response)
            await context.resolver.again(target)
            raise error_texts.credentials_refused()
        copy_headers(request, response)
        sanitize_headers(request, None)
        await relay_body(request, response, context.clock, context.idle_timeout)
        return None
