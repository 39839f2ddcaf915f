"""
``GET /workspaces/{workspace_id}/chat/download``: fetch a file from its workspace and relay it.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from uuid import UUID

from twisted.web.iweb import IResponse

from chatfiles.errors import VersionNotSupported
from chatfiles.http.server.endpoint import JSONResponse
from chatfiles.http.server.request import Request
from chatfiles.platform import error_texts
from chatfiles.platform.forwarding.gateway import discard
from chatfiles.platform.forwarding.requests import DownloadRequest
from chatfiles.platform.forwarding.response import relay_body, require_provable, write_headers
from chatfiles.platform.forwarding.target import WorkspaceAddress
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.rules import file_headers
from chatfiles.rules.header_fields import HeaderFields
from chatfiles.rules.query import parse_query
from chatfiles.rules.virtual_paths import VirtualPath, check_form

__all__ = ["AskedFile", "asked_file", "download", "relay"]


@dataclass(frozen=True, slots=True)
class AskedFile:
    """
    The file that a request names.

    :param inline: whether the client wants to view it.
    """

    path: VirtualPath
    inline: bool

    def wanted(self, method: bytes, fields: HeaderFields, request_id: str) -> DownloadRequest:
        """
        :param method: of the client's request.
        :param fields: its headers.
        :param request_id: its id.
        :return: the request to the workspace.
        """
        disposition = "inline" if self.inline else None
        return DownloadRequest(method, self.path.raw, disposition, fields, request_id)


def asked_file(query: bytes) -> AskedFile:
    """
    :param query: of the target.
    :return: the file that it names.
    :raise chatfiles.errors.BadRequest: it is malformed.
    """
    values = parse_query(query)
    path = check_form(values.get(b"path", []))
    return AskedFile(path, file_headers.wants_inline(values.get(b"disposition", [])))


async def download(
    context: PlatformContext, request: Request, workspace_id: UUID
) -> JSONResponse | None:
    """Fetch a file of the workspace and relay it."""
    asked = asked_file(request.query)
    target = await context.resolver.resolve(workspace_id, "download")
    wanted = asked.wanted(request.method, request.requestHeaders, request.request_id)
    await relay(context, request, asked, target, context.gateway.read(target, wanted))
    return None


async def relay(
    context: PlatformContext,
    request: Request,
    asked: AskedFile,
    target: WorkspaceAddress,
    reading: Awaitable[IResponse],
) -> None:
    """
    Relay a file.

    :param asked: the file.
    :param target: the address of its workspace.
    :param reading: the first attempt to read it there.
    """
    response = await _accepted(context, request, asked, target, reading)
    try:
        require_provable(request, response)
    except VersionNotSupported:
        discard(response)
        raise
    write_headers(request, response, asked.path.name, asked.inline)
    await relay_body(request, response, context.clock, context.idle_timeout, context.splicer)


async def _accepted(
    context: PlatformContext,
    request: Request,
    asked: AskedFile,
    target: WorkspaceAddress,
    reading: Awaitable[IResponse],
) -> IResponse:
    """
    :return: the response.  The request is sent again if the workspace's secret has changed since it
        was looked up.
    """
    response = await reading
    if response.code != 401:
        return response
    discard(response)
    fresh = await context.resolver.again(target)
    if fresh is not None:
        wanted = asked.wanted(request.method, request.requestHeaders, request.request_id)
        response = await context.gateway.read(fresh, wanted)
        if response.code != 401:
            return response
        discard(response)
    raise error_texts.credentials_refused()
