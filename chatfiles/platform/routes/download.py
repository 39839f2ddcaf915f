"""
``GET /workspaces/{workspace_id}/chat/download`` and ``…/fs/file``: fetch a file from its workspace
and relay it.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from uuid import UUID

from twisted.web.iweb import IResponse

from chatfiles.errors import PreconditionFailed, VersionNotSupported
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.platform.forwarding.attempts import accepted
from chatfiles.platform.forwarding.gateway import discard, way_of
from chatfiles.platform.forwarding.requests import DownloadRequest
from chatfiles.platform.forwarding.response import relay_body, require_detectable_end, write_headers
from chatfiles.platform.forwarding.target import WorkspaceAddress
from chatfiles.platform.forwarding.unsupported import require_supported
from chatfiles.platform.forwarding.workspace_error_page import raise_for_people
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.rules import file_headers
from chatfiles.rules.header_fields import HeaderFields
from chatfiles.rules.query import parse_query
from chatfiles.rules.touched_paths import touched_path
from chatfiles.rules.trace_context import TraceContext
from chatfiles.rules.virtual_paths import VirtualPath, check_form

__all__ = ["FILE", "READ", "AskedFile", "asked_file", "download", "file", "relay"]

#: The workspace's route for downloads, which every workspace has, and its newer name.
READ, FILE = b"/internal/file/read", b"/internal/fs/file"


@dataclass(frozen=True, slots=True)
class AskedFile:
    """
    The file that a request names.

    :param inline: whether the client wants to view it.
    :param route: the workspace's route that serves it.
    :param version: the only entity tag that the client may receive, also if the workspace ignores
        ``If-Match``; ``None`` for any.
    """

    path: VirtualPath
    inline: bool
    route: bytes = READ
    version: bytes | None = None

    def wanted(
        self,
        method: bytes,
        fields: HeaderFields,
        request_id: str,
        trace: TraceContext | None = None,
    ) -> DownloadRequest:
        """
        :param method: of the client's request.
        :param fields: its headers.
        :param request_id: its id.
        :param trace: its trace.
        :return: the request to the workspace.
        """
        disposition = "inline" if self.inline else None
        return DownloadRequest(
            method, self.path.raw, disposition, fields, request_id, self.route, trace
        )


def asked_file(query: bytes, route: bytes = READ) -> AskedFile:
    """
    :param query: of the target.
    :param route: the workspace's route that serves the file.
    :return: the file that it names.
    :raise chatfiles.errors.BadRequest: it is malformed.
    """
    values = parse_query(query)
    path = check_form(values.get(b"path", []))
    return AskedFile(path, file_headers.wants_inline(values.get(b"disposition", [])), route)


async def download(
    context: PlatformContext, request: Request, workspace_id: UUID
) -> JSONResponse | None:
    """Fetch a file of the workspace and relay it."""
    await _download(context, request, workspace_id, READ)
    return None


async def file(
    context: PlatformContext, request: Request, workspace_id: UUID
) -> JSONResponse | None:
    """As `download`, by the newer route of workspaces."""
    await _download(context, request, workspace_id, FILE)
    return None


async def _download(
    context: PlatformContext, request: Request, workspace_id: UUID, route: bytes
) -> None:
    request.touched = touched_path(parse_query(request.query))
    asked = asked_file(request.query, route)
    context.transfers.begin(request, workspace_id)
    target = await context.resolver.resolve(workspace_id, "download")
    wanted = asked.wanted(request.method, request.requestHeaders, request.request_id, request.trace)
    await relay(context, request, asked, target, context.gateway.read(target, wanted))


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

    request.via = target.via

    def repeat(fresh: WorkspaceAddress) -> Awaitable[IResponse]:
        wanted = asked.wanted(
            request.method, request.requestHeaders, request.request_id, request.trace
        )
        return context.gateway.read(fresh, wanted)

    response = await accepted(context.resolver, target, reading, repeat)
    request.via = way_of(response) or request.via
    if asked.route != READ:
        timeout = request.site.header_timeout
        response = await require_supported(request.method, response, context.clock, timeout)
    try:
        require_detectable_end(request, response)
    except VersionNotSupported:
        discard(response)
        raise
    if asked.version is not None and response.code < 400:
        _require_version(response, asked.version)
    await raise_for_people(request, response, context.clock)
    write_headers(request, response, asked.path.name, asked.inline)
    await relay_body(request, response, context.clock, context.idle_timeout, context.splicer)


def _require_version(response: IResponse, version: bytes) -> None:
    if response.headers.getRawHeaders(b"etag", ()) != [version]:
        discard(response)
        raise PreconditionFailed
