"""
``GET /workspaces/{id}/chat/download``: who, where, forward, relay (CONTRACT 4 and 6).
"""

from __future__ import annotations

from uuid import UUID

from twisted.web.iweb import IResponse

from chatfiles.errors import VersionNotSupported
from chatfiles.http.server.endpoint import Endpoint, JSONResponse
from chatfiles.http.server.request import Request
from chatfiles.model import Scope
from chatfiles.platform import error_texts
from chatfiles.platform.forwarding.gateway import discard
from chatfiles.platform.forwarding.requests import DownloadRequest
from chatfiles.platform.forwarding.resolver import require_id
from chatfiles.platform.forwarding.response import (
    copy_headers,
    relay_body,
    require_provable,
    sanitize_headers,
)
from chatfiles.platform.forwarding.target import WorkspaceAddress
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.rules import file_headers
from chatfiles.rules.query import parse_query
from chatfiles.rules.virtual_paths import check_form

__all__ = ["Download"]


class Download(Endpoint):
    """
    A file of a workspace.

    :param workspace_id: from the URL; ``None`` when it is not a UUID.
    """

    operation = "download"
    ends_with_caller = True

    def __init__(self, context: PlatformContext, workspace_id: UUID | None) -> None:
        super().__init__()
        self._context = context
        self._workspace_id = workspace_id

    async def render_GET(self, request: Request) -> JSONResponse | None:
        """Fetch the file and pass it on."""
        context = self._context
        request.workspace = str(self._workspace_id or "")
        await context.authenticator.for_workspace(request, self._workspace_id, Scope.READ)
        workspace_id = require_id(self._workspace_id)
        query = parse_query(request.query)
        path = check_form(query.get(b"path", []))
        inline = file_headers.wants_inline(query.get(b"disposition", []))
        target = await context.resolver.resolve(workspace_id, "download")
        read = DownloadRequest(
            method=request.method,
            path=path.raw,
            disposition="inline" if inline else None,
            fields=request.requestHeaders,
            request_id=request.request_id,
        )
        response = await self._ask(target, read)
        try:
            require_provable(request, response)
        except VersionNotSupported:
            discard(response)
            raise
        copy_headers(request, response)
        sanitize_headers(request, path.name, inline)
        await relay_body(request, response, context.clock, context.idle_timeout)
        return None

    async def _ask(self, target: WorkspaceAddress, read: DownloadRequest) -> IResponse:
        """Ask; once more if the secret has changed since we looked."""
        gateway = self._context.gateway
        response: IResponse = await gateway.read(target, read)
        if response.code != 401:
            return response
        discard(response)
        fresh = await self._context.resolver.again(target)
        if fresh is not None:
            response = await gateway.read(fresh, read)
            if response.code != 401:
                return response
            discard(response)
        raise error_texts.credentials_refused()
