"""
``GET /workspaces/{workspace_id}/chat/download``: fetch a file from its workspace and relay it.
"""

from __future__ import annotations

from uuid import UUID

from twisted.web.iweb import IResponse

from chatfiles.errors import VersionNotSupported
from chatfiles.http.server.endpoint import JSONResponse
from chatfiles.http.server.request import Request
from chatfiles.platform import error_texts
from chatfiles.platform.forwarding.gateway import discard
from chatfiles.platform.forwarding.requests import DownloadRequest
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

__all__ = ["download"]


async def download(
    context: PlatformContext, request: Request, workspace_id: UUID
) -> JSONResponse | None:
    """Fetch a file of the workspace and relay it."""
    query = parse_query(request.query)
    path = check_form(query.get(b"path", []))
    inline = file_headers.wants_inline(query.get(b"disposition", []))
    target = await context.resolver.resolve(workspace_id, "download")
    wanted = DownloadRequest(
        method=request.method,
        path=path.raw,
        disposition="inline" if inline else None,
        fields=request.requestHeaders,
        request_id=request.request_id,
    )
    response = await _fetch(context, target, wanted)
    try:
        require_provable(request, response)
    except VersionNotSupported:
        discard(response)
        raise
    copy_headers(request, response)
    sanitize_headers(request, path.name, inline)
    await relay_body(request, response, context.clock, context.idle_timeout)
    return None


async def _fetch(
    context: PlatformContext, target: WorkspaceAddress, wanted: DownloadRequest
) -> IResponse:
    """
    Send the request; send it again if the workspace's secret has changed since it was looked up.
    """
    response: IResponse = await context.gateway.read(target, wanted)
    if response.code != 401:
        return response
    discard(response)
    fresh = await context.resolver.again(target)
    if fresh is not None:
        response = await context.gateway.read(fresh, wanted)
        if response.code != 401:
            return response
        discard(response)
    raise error_texts.credentials_refused()
