"""
``/workspaces/{workspace_id}/fs/roots``, ``…/fs/entries``, ``…/fs/archive`` and ``…/fs/digest``:
validate the request, and forward it to the workspace in its plainest form.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from chatfiles.http.server.json_body import read_json, require_json_head
from chatfiles.http.server.json_text import json_text
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.platform.forwarding.accepted_response import NUMBER, ResponseForm
from chatfiles.platform.forwarding.requests import OperationRequest
from chatfiles.platform.forwarding.response import ATTACHMENT
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.platform.routes.operation import forward
from chatfiles.rules.accept import JSON, NDJSON
from chatfiles.rules.archive_request import ArchiveRequest, archive_body, archive_query
from chatfiles.rules.digest_fields import REPR_DIGEST, is_repr_digest
from chatfiles.rules.entry_json import encode_cursor, ref_of
from chatfiles.rules.file_headers import content_disposition
from chatfiles.rules.listing_query import (
    DEFAULT_DEPTH,
    DEFAULT_LIMIT,
    ListingQuery,
    listing_query,
)
from chatfiles.rules.query import parse_query
from chatfiles.rules.touched_paths import touched_path, touched_paths
from chatfiles.rules.virtual_paths import VirtualPath, check_form

__all__ = ["archive", "archive_of_paths", "digest", "entries", "roots", "send_archive"]

_PAGE = ResponseForm(JSON)
_STREAM = ResponseForm(NDJSON, is_stream=True)
_DIGEST = ResponseForm(
    JSON,
    statuses=(200, 202),
    relayed={REPR_DIGEST: lambda value: is_repr_digest([value]), b"Retry-After": NUMBER},
)


async def roots(
    context: PlatformContext, request: Request, workspace_id: UUID
) -> JSONResponse | None:
    """List the workspace's roots."""
    asked = _request(request, b"/internal/fs/roots", _PAGE)
    await forward(context, request, workspace_id, asked)
    return None


async def entries(
    context: PlatformContext, request: Request, workspace_id: UUID
) -> JSONResponse | None:
    """List a directory, or describe the entry at a path."""
    request.touched = touched_path(parse_query(request.query))
    accept = request.requestHeaders.getRawHeaders(b"accept", ())
    asked = listing_query(request.query, accept)
    form = _STREAM if asked.is_stream else _PAGE
    fields = [(b"Accept", form.media_type)]
    forwarded = _request(request, _entries_target(asked), form, fields=fields, once=True)
    await forward(context, request, workspace_id, forwarded)
    return None


async def archive(
    context: PlatformContext, request: Request, workspace_id: UUID
) -> JSONResponse | None:
    """Send a file or directory as one archive."""
    request.touched = touched_path(parse_query(request.query))
    await send_archive(context, request, workspace_id, archive_query(request.query))
    return None


async def send_archive(
    context: PlatformContext, request: Request, workspace_id: UUID, asked: ArchiveRequest
) -> None:
    """Send an archive of one path."""
    context.transfers.begin(request, workspace_id)
    target = _target(b"/internal/fs/archive", asked.paths[0], f"&format={asked.format}")
    forwarded = _request(request, target, _archive_form(asked), once=True)
    await forward(context, request, workspace_id, forwarded)


async def archive_of_paths(
    context: PlatformContext, request: Request, workspace_id: UUID
) -> JSONResponse | None:
    """Send several files and directories as one archive."""
    require_json_head(request)
    context.transfers.begin(request, workspace_id)
    asked = archive_body(await read_json(request))
    request.touched = touched_paths(path.raw for path in asked.paths)
    body = json_text(_archive_json(asked))
    fields = [(b"Content-Type", JSON)]
    form = _archive_form(asked)
    forwarded = _request(request, b"/internal/fs/archive", form, fields=fields, body=body)
    await forward(context, request, workspace_id, forwarded)
    return None


async def digest(
    context: PlatformContext, request: Request, workspace_id: UUID
) -> JSONResponse | None:
    """Tell the digest of a file."""
    query = parse_query(request.query)
    request.touched = touched_path(query)
    path = check_form(query.get(b"path", []))
    conditions = request.requestHeaders.getRawHeaders(b"if-match", ())
    fields = [(b"If-Match", value) for value in conditions]
    target = _target(b"/internal/fs/digest", path)
    asked = _request(request, target, _DIGEST, fields=fields, once=True)
    await forward(context, request, workspace_id, asked)
    return None


def _request(request: Request, target: bytes, form: ResponseForm, **more: Any) -> OperationRequest:
    return OperationRequest(
        request.method, target, form, request.request_id, trace=request.trace, **more
    )


def _target(route: bytes, path: VirtualPath, more: str = "") -> bytes:
    return b"%b?path=%b" % (route, (ref_of(path.raw) + more).encode("ascii"))


def _entries_target(asked: ListingQuery) -> bytes:
    depth = "infinity" if asked.depth is None else asked.depth
    more = f"&depth={depth}" if depth != DEFAULT_DEPTH else ""
    if asked.limit != DEFAULT_LIMIT:
        more += f"&limit={asked.limit}"
    if asked.after is not None:
        more += f"&after={encode_cursor(asked.after)}"
    return _target(b"/internal/fs/entries", asked.path, more)


def _archive_json(asked: ArchiveRequest) -> dict[str, object]:
    body: dict[str, object] = {"paths": [_named(path.raw) for path in asked.paths]}
    body["format"] = asked.format
    if asked.name is not None:
        body["name"] = asked.name
    return body


def _named(path: bytes) -> dict[str, str]:
    """:return: the shorter way to name a path in JSON: the body must not become too long."""
    try:
        return {"path": path.decode("utf-8")}
    except UnicodeDecodeError:
        return {"ref": ref_of(path)}


def _archive_form(asked: ArchiveRequest) -> ResponseForm:
    """:return: the form of the response.  Its file name is only used if the workspace has none."""
    usual = asked.paths[0].name if len(asked.paths) == 1 else b"files"
    disposition = content_disposition(asked.file_name(usual))
    return ResponseForm(
        asked.format.media_type,
        fields={b"Content-Disposition": disposition, b"Accept-Ranges": b"none"},
        relayed={
            b"Content-Disposition": ATTACHMENT.fullmatch,
            b"Chatfiles-Archive-Entries": NUMBER,
            b"Chatfiles-Archive-Bytes": NUMBER,
        },
        is_stream=True,
    )
