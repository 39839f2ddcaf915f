"""
``/workspaces/{workspace_id}/uploads``: resumable uploads (tus 1.0.0; reference/resumable).  The
workspace keeps them; the platform remembers nothing, so each node can serve each request.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from functools import partial
from typing import Final
from uuid import UUID

from twisted.web.iweb import IResponse

from chatfiles.errors import NotFound
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.http.server.tus import describe_service, prepare_tus, require_tus
from chatfiles.platform import error_texts
from chatfiles.platform.forwarding.accepted_response import NUMBER, IsValid, ResponseForm
from chatfiles.platform.forwarding.gateway import discard
from chatfiles.platform.forwarding.requests import OperationRequest, UploadRequest
from chatfiles.platform.forwarding.response import relay_body, write_form_headers
from chatfiles.platform.forwarding.unsupported import require_supported
from chatfiles.platform.forwarding.upload_body import UploadBody
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.platform.routes.operation import ask, forward
from chatfiles.platform.routes.upload import send_body
from chatfiles.rules.accept import JSON
from chatfiles.rules.digest_fields import REPR_DIGEST, is_repr_digest
from chatfiles.rules.entry_json import ref_of
from chatfiles.rules.header_fields import fields_of
from chatfiles.rules.query import parse_query
from chatfiles.rules.resumable_upload import (
    UPLOAD_ID,
    VERSION,
    check_body,
    creation_of,
    patch_of,
    upload_too_large,
)
from chatfiles.rules.touched_paths import touched_path
from chatfiles.rules.upload_metadata import is_metadata
from chatfiles.rules.virtual_paths import check_form

__all__ = ["append", "create", "describe", "describe_upload", "files", "prepare", "remove", "state"]

_UPLOADS: Final = b"/internal/uploads"
_LOCATION = re.compile(rb"/internal/uploads/([0-9a-f]{32})")
_DATE: IsValid = re.compile(rb"[A-Za-z0-9:, ]{29}").fullmatch
_URI: IsValid = re.compile(rb"workspace:/[!-~]{1,16000}").fullmatch

_TUS: Final = (b"Tus-Resumable",)
#: The headers of a creation and of a chunk that the workspace receives.
_OF_CREATIONS: Final = (
    *_TUS,
    *(b"Upload-Length", b"Upload-Defer-Length", b"Upload-Metadata", b"Upload-Checksum"),
    *(b"Content-Type", b"If-Match", b"If-None-Match", b"If-Unmodified-Since"),
)
_OF_CHUNKS: Final = (
    *_TUS,
    *(b"Upload-Offset", b"Upload-Length", b"Upload-Checksum", b"Content-Type"),
)
_ON_ERRORS: Final[dict[bytes, IsValid]] = {
    b"Upload-Offset": NUMBER,
    b"Tus-Version": lambda value: value == VERSION,
}
_RELAYED: Final[dict[bytes, IsValid]] = {
    b"Upload-Offset": NUMBER,
    b"Upload-Length": NUMBER,
    b"Upload-Defer-Length": lambda value: value == b"1",
    b"Upload-Metadata": is_metadata,
    b"Upload-Expires": _DATE,
    b"Chatfiles-Uri": _URI,
    REPR_DIGEST: lambda value: is_repr_digest([value]),
}
_form = partial(ResponseForm, b"", relayed=_RELAYED, on_errors=_ON_ERRORS)
_CREATED, _APPENDED, _FOUND = _form((201,)), _form((204,)), _form((200,))
_REMOVED = _form((204,))
_FILES = ResponseForm(JSON, on_errors=_ON_ERRORS)


def prepare(context: PlatformContext, request: Request) -> None:
    """If a request is for one of these routes, set the headers that every response has."""
    match request.postpath:
        case [b"workspaces", _, b"uploads"] | [b"workspaces", _, b"uploads", _]:
            prepare_tus(request, context.allowed_origins)


async def describe(
    context: PlatformContext,
    request: Request,
    workspace_id: UUID | None,  # noqa: ARG001 — nothing is said of the workspace
) -> None:
    """Describe what the service can do, without a credential."""
    describe_service(request, context.limits.resumable_bytes)


async def describe_upload(
    context: PlatformContext,
    request: Request,
    workspace_id: UUID | None,  # noqa: ARG001 — nor of the upload
    upload_id: str,  # noqa: ARG001
) -> None:
    """As `describe`: browsers ask for permission before they use an upload."""
    describe_service(request, context.limits.resumable_bytes)


async def create(context: PlatformContext, request: Request, workspace_id: UUID) -> None:
    """Create an upload, and forward the body if there is one."""
    query = parse_query(request.query)
    request.touched, given = touched_path(query), query.get(b"path", [])
    place = "?path=" + ref_of(check_form(list(given)).raw) if given else ""
    require_tus(request)
    fields, declared = request.requestHeaders, request.body.length
    creation = creation_of(fields, context.limits.resumable_bytes)
    check_body(fields, declared, creation.length)
    target = _UPLOADS + place.encode("ascii")
    response = await _send(context, request, workspace_id, target, _OF_CREATIONS, _CREATED)
    location = b""
    if response.code == 201:
        location = _location(response, workspace_id)
    await _relay(context, request, response, _CREATED)
    if location:
        request.setHeader(b"Location", location)


def _location(response: IResponse, workspace_id: UUID) -> bytes:
    """:return: the URL of an upload for the client, from that of the workspace."""
    values = response.headers.getRawHeaders(b"location", ())
    found = _LOCATION.fullmatch(values[0]) if len(values) == 1 else None
    if found is None:
        discard(response)
        raise error_texts.invalid_response("Location is not that of an upload")
    return b"/workspaces/%b/uploads/%b" % (str(workspace_id).encode("ascii"), found[1])


async def append(
    context: PlatformContext, request: Request, workspace_id: UUID, upload_id: str
) -> None:
    """Forward a part of a file while it arrives."""
    require_tus(request)
    target = _target(upload_id)
    patch_of(request.requestHeaders, request.body.length, context.limits.resumable_bytes)
    response = await _send(context, request, workspace_id, target, _OF_CHUNKS, _APPENDED)
    await _relay(context, request, response, _APPENDED)


async def _send(
    context: PlatformContext,
    request: Request,
    workspace_id: UUID,
    target: bytes,
    names: tuple[bytes, ...],
    form: ResponseForm,
) -> IResponse:
    """:return: the workspace's response to the body of *request*."""
    context.transfers.begin(request, workspace_id)
    method = b"POST" if form is _CREATED else b"PATCH"
    address = await context.resolver.resolve(workspace_id, "upload")
    expects = request.body.expects_continue
    # The workspace knows the length of the file, and refuses more.
    waits_on = context.clock if expects else None
    body = UploadBody(request.body, sys.maxsize, waits_on, upload_too_large, context.splicer)
    fields = [
        *fields_of(request.requestHeaders, names),
        *([(b"Expect", b"100-continue")] if expects else ()),
    ]
    forwarded = UploadRequest(fields, body, request.request_id, request.trace, method, target, form)
    response = await send_body(context, request, address, forwarded, body)
    timeout = request.site.header_timeout
    return await require_supported(method, response, context.clock, timeout)


async def state(
    context: PlatformContext, request: Request, workspace_id: UUID, upload_id: str
) -> None:
    """Say how far an upload has come."""
    operation = _operation(request, upload_id, b"HEAD", _FOUND)
    response = await ask(context, request, workspace_id, operation, "upload")
    _write_empty(request, response, _FOUND)


async def files(
    context: PlatformContext, request: Request, workspace_id: UUID, upload_id: str
) -> None:
    """Describe the file of a finished upload."""
    operation = _operation(request, upload_id, b"GET", _FILES)
    await forward(context, request, workspace_id, operation, "upload")


async def remove(
    context: PlatformContext, request: Request, workspace_id: UUID, upload_id: str
) -> None:
    """Forget an upload."""
    operation = replace(_operation(request, upload_id, b"DELETE", _REMOVED), once=True)
    await forward(context, request, workspace_id, operation, "upload")


def _operation(
    request: Request, upload_id: str, method: bytes, form: ResponseForm
) -> OperationRequest:
    require_tus(request)
    target, fields = _target(upload_id), fields_of(request.requestHeaders, _TUS)
    return OperationRequest(
        method, target, form, request.request_id, fields=fields, trace=request.trace
    )


async def _relay(
    context: PlatformContext, request: Request, response: IResponse, form: ResponseForm
) -> JSONResponse | None:
    if response.code in form.statuses:
        _write_empty(request, response, form)
    else:
        write_form_headers(request, response, form)
        await relay_body(request, response, context.clock, context.idle_timeout)
    return None


def _write_empty(request: Request, response: IResponse, form: ResponseForm) -> None:
    """Write the headers of a response, and no body, whatever the workspace has sent."""
    write_form_headers(request, response, form)
    discard(response)
    if response.code == 204:
        request.fields.pop(b"Content-Length", None)
    else:
        request.setHeader(b"Content-Length", b"0")


def _target(upload_id: str) -> bytes:
    if not UPLOAD_ID.fullmatch(upload_id):
        raise NotFound("upload not found", code="upload_not_found")
    return b"%b/%b" % (_UPLOADS, upload_id.encode("ascii"))
