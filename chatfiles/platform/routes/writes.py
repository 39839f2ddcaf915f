"""
``PUT`` and ``DELETE /workspaces/{workspace_id}/fs/file``, ``POST …/fs/directories`` and ``POST
…/fs/move``: validate the request, and forward it to the workspace.
"""

from __future__ import annotations

from uuid import UUID

from twisted.web.iweb import IResponse

from chatfiles.http.server.json_body import read_json
from chatfiles.http.server.json_text import json_text
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.platform.forwarding.accepted_response import ResponseForm
from chatfiles.platform.forwarding.requests import OperationRequest, UploadRequest
from chatfiles.platform.forwarding.response import relay_body, write_form_headers
from chatfiles.platform.forwarding.target import WorkspaceAddress
from chatfiles.platform.forwarding.unsupported import require_supported
from chatfiles.platform.forwarding.upload_body import UploadBody
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.platform.routes.operation import forward
from chatfiles.platform.routes.upload import send_body
from chatfiles.rules.accept import JSON
from chatfiles.rules.conditional_requests import ENTITY_TAG
from chatfiles.rules.digest_fields import CONTENT_DIGEST, REPR_DIGEST, is_repr_digest
from chatfiles.rules.entry_json import ref_of
from chatfiles.rules.header_fields import fields_of
from chatfiles.rules.query import parse_query
from chatfiles.rules.touched_paths import touched_move, touched_path
from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.rules.write_request import (
    WriteOptions,
    check_write_head,
    file_too_large,
    flag,
    move_body,
    path_of,
    write_options,
)

__all__ = ["delete_file", "make_directory", "move", "put_file"]

_CONDITIONS = (b"If-Match", b"If-None-Match", b"If-Unmodified-Since")
#: The headers of a ``PUT`` that the workspace receives.
_OF_FILES = (*_CONDITIONS, REPR_DIGEST, CONTENT_DIGEST)
_WRITTEN = ResponseForm(
    JSON,
    statuses=(200, 201),
    relayed={
        b"ETag": ENTITY_TAG.fullmatch,
        REPR_DIGEST: lambda value: is_repr_digest([value]),
    },
)
_DELETED = ResponseForm(JSON, statuses=(204,))
_MADE = ResponseForm(JSON, statuses=(200, 201))
_MOVED = ResponseForm(JSON)


async def put_file(
    context: PlatformContext, request: Request, workspace_id: UUID
) -> JSONResponse | None:
    """Forward a file to the workspace while it arrives, and relay the workspace's response."""
    query, fields = parse_query(request.query), request.requestHeaders
    request.touched = touched_path(query)
    path, options = path_of(query), write_options(query)
    limit = context.limits.per_file_bytes
    check_write_head(fields, request.body.length, limit)
    context.transfers.begin(request, workspace_id)
    target = await context.resolver.resolve(workspace_id, "upload")
    response = await _put(context, request, target, path, options)
    write_form_headers(request, response, _WRITTEN)
    if response.code == 201:
        location = f"/workspaces/{workspace_id}/fs/file?path={ref_of(path.raw)}"
        request.setHeader(b"Location", location.encode("ascii"))
    await relay_body(request, response, context.clock, context.idle_timeout)
    return None


async def _put(
    context: PlatformContext,
    request: Request,
    target: WorkspaceAddress,
    path: VirtualPath,
    options: WriteOptions,
) -> IResponse:
    expects = request.body.expects_continue
    body = UploadBody(
        request.body,
        context.limits.per_file_bytes,
        context.clock if expects else None,
        file_too_large,
        context.splicer,
    )
    forwarded = UploadRequest(
        [
            *fields_of(request.requestHeaders, _OF_FILES),
            *([(b"Expect", b"100-continue")] if expects else ()),
        ],
        body,
        request.request_id,
        request.trace,
        b"PUT",
        _file_target(path, options),
        _WRITTEN,
    )
    response = await send_body(context, request, target, forwarded, body)
    timeout = request.site.header_timeout
    return await require_supported(request.method, response, context.clock, timeout)


async def delete_file(
    context: PlatformContext, request: Request, workspace_id: UUID
) -> JSONResponse | None:
    """Delete a file, a symlink or an empty directory of the workspace."""
    query = parse_query(request.query)
    request.touched = touched_path(query)
    path, directory = path_of(query), flag(query, "directory")
    target = _target(b"file", path, "&directory=1" if directory else "")
    await _forward(context, request, workspace_id, target, _DELETED)
    return None


async def make_directory(
    context: PlatformContext, request: Request, workspace_id: UUID
) -> JSONResponse | None:
    """Create a directory in the workspace."""
    query = parse_query(request.query)
    request.touched = touched_path(query)
    path, parents = path_of(query), flag(query, "parents")
    target = _target(b"directories", path, "&parents=1" if parents else "")
    await _forward(context, request, workspace_id, target, _MADE)
    return None


async def move(
    context: PlatformContext, request: Request, workspace_id: UUID
) -> JSONResponse | None:
    """Rename a file, symlink or directory of the workspace."""
    asked = move_body(await read_json(request))
    request.touched = touched_move(asked.origin.raw, asked.destination.raw)
    body = {
        "from": {"ref": ref_of(asked.origin.raw)},
        "to": {"ref": ref_of(asked.destination.raw)},
        "overwrite": asked.overwrite,
    }
    await _forward(context, request, workspace_id, b"/internal/fs/move", _MOVED, json_text(body))
    return None


async def _forward(
    context: PlatformContext,
    request: Request,
    workspace_id: UUID,
    target: bytes,
    form: ResponseForm,
    body: bytes | None = None,
) -> None:
    fields = fields_of(request.requestHeaders, _CONDITIONS)
    if body is not None:
        fields.append((b"Content-Type", JSON))
    operation = OperationRequest(
        request.method,
        target,
        form,
        request.request_id,
        fields=fields,
        body=body,
        once=True,
        trace=request.trace,
    )
    await forward(context, request, workspace_id, operation, "upload")


def _file_target(path: VirtualPath, options: WriteOptions) -> bytes:
    more = "&parents=1" if options.parents else ""
    if options.mode is not None:
        more += f"&mode={options.mode:o}"
    return _target(b"file", path, more)


def _target(route: bytes, path: VirtualPath, more: str) -> bytes:
    return b"/internal/fs/%b?path=%b" % (route, (ref_of(path.raw) + more).encode("ascii"))
