"""
``POST /workspaces/{workspace_id}/chat/uploads``: validate the headers of an upload, then forward
its body to the workspace while it arrives.  ``GET /uploads/limits``: the limits of an upload.
"""

from __future__ import annotations

from uuid import UUID

from twisted.web.iweb import IResponse

from chatfiles.errors import UpstreamFailed
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.platform import error_texts
from chatfiles.platform.forwarding.gateway import discard, way_of
from chatfiles.platform.forwarding.requests import UploadRequest
from chatfiles.platform.forwarding.response import relay_body, write_headers
from chatfiles.platform.forwarding.target import WorkspaceAddress
from chatfiles.platform.forwarding.upload_body import UploadBody
from chatfiles.platform.forwarding.workspace_error_page import raise_for_people
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.rules.form_file_counter import FileCounter
from chatfiles.rules.upload_head import check_upload_head
from chatfiles.streams.stall_timeout import StallTimeout

__all__ = ["forward_upload", "send_body", "upload", "upload_limits"]


async def upload(
    context: PlatformContext, request: Request, workspace_id: UUID
) -> JSONResponse | None:
    """Forward a form with files to the workspace, and relay the workspace's response."""
    await forward_upload(context, request, workspace_id, context.limits.per_request_bytes)
    return None


async def forward_upload(
    context: PlatformContext,
    request: Request,
    workspace_id: UUID,
    max_bytes: int,
    max_files: int | None = None,
) -> None:
    """
    As `upload`, with limits.

    :param max_bytes: the most bytes of the body.
    :param max_files: the most files in it; ``None`` if only the workspace counts them.
    """
    boundary = check_upload_head(request.requestHeaders, request.body.length, max_bytes)
    context.transfers.begin(request, workspace_id)
    target = await context.resolver.resolve(workspace_id, "upload")
    splicer = context.splicer if max_files is None else None
    body = UploadBody(request.body, max_bytes, splicer=splicer)
    if max_files is not None:
        body.check = FileCounter(boundary, max_files).feed
    response = await _forward(context, request, target, body)
    await raise_for_people(request, response, context.clock)
    write_headers(request, response, None)
    await relay_body(request, response, context.clock, context.idle_timeout)


async def _forward(
    context: PlatformContext, request: Request, target: WorkspaceAddress, body: UploadBody
) -> IResponse:
    content_type = (request.requestHeaders.getRawHeaders(b"content-type") or [b""])[0]
    fields = [(b"Content-Type", content_type)]
    forwarded = UploadRequest(fields, body, request.request_id, request.trace)
    return await send_body(context, request, target, forwarded, body)


async def send_body(
    context: PlatformContext,
    request: Request,
    target: WorkspaceAddress,
    forwarded: UploadRequest,
    body: UploadBody,
) -> IResponse:
    """
    Send a request whose body is that of the client.

    :param forwarded: the request to the workspace.
    :param body: its body.
    :return: the workspace's response; never 401.
    :raise Exception: the client's body ended early, or the workspace failed or refused its secret.
    """
    request.via = target.via
    stalled = StallTimeout(context.clock, context.idle_timeout, body.progress, body.give_up)
    try:
        response: IResponse = await context.gateway.store(target, forwarded)
    except UpstreamFailed as error:
        raise body.error or error from None
    finally:
        stalled.stop()
    request.via = way_of(response) or request.via
    if body.error is not None:
        discard(response)
        raise body.error
    if response.code == 401:
        # The body cannot be sent twice, but the next upload will use the new secret.
        discard(response)
        await context.resolver.again(target)
        raise error_texts.credentials_refused()
    return response


async def upload_limits(context: PlatformContext, _request: Request) -> JSONResponse:
    """:return: a response with the limits of an upload."""
    limits = context.limits
    return JSONResponse(
        200,
        {
            "per_file_bytes": limits.per_file_bytes,
            "per_request_bytes": limits.per_request_bytes,
            "max_files_per_request": limits.max_files_per_request,
            "max_attachments_per_message": limits.max_attachments_per_message,
        },
    )
