"""
Forwards an operation below ``/workspaces/{workspace_id}/fs`` to its workspace, and relays the
response.  The query and the body have been validated before (reference/operations, "Order of
checks").
"""

from __future__ import annotations

from collections.abc import Awaitable
from uuid import UUID

from twisted.web.iweb import IResponse

from chatfiles.errors import VersionNotSupported
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import require_chunks
from chatfiles.platform.forwarding.attempts import accepted
from chatfiles.platform.forwarding.gateway import discard, way_of
from chatfiles.platform.forwarding.requests import OperationRequest
from chatfiles.platform.forwarding.response import (
    relay_body,
    require_detectable_end,
    write_form_headers,
)
from chatfiles.platform.forwarding.target import WorkspaceAddress
from chatfiles.platform.forwarding.unsupported import require_supported
from chatfiles.platform.forwarding.workspace_error_page import raise_for_people
from chatfiles.platform.routes.context import PlatformContext

__all__ = ["ask", "forward"]


async def forward(
    context: PlatformContext,
    request: Request,
    workspace_id: UUID,
    operation: OperationRequest,
    kind: str = "download",
) -> None:
    """
    :param operation: what the workspace is asked for.
    :param kind: ``download`` or ``upload``, for the error texts.
    :raise ChatfilesError: the operation cannot be forwarded, or its response not be relayed.
    """
    if operation.form.is_stream:
        require_chunks(request)
    response = await ask(context, request, workspace_id, operation, kind)
    try:
        require_detectable_end(request, response)
    except VersionNotSupported:
        discard(response)
        raise
    await raise_for_people(request, response, context.clock)
    write_form_headers(request, response, operation.form)
    await relay_body(request, response, context.clock, context.idle_timeout, context.splicer)


async def ask(
    context: PlatformContext,
    request: Request,
    workspace_id: UUID,
    operation: OperationRequest,
    kind: str,
) -> IResponse:
    """
    :param operation: what the workspace is asked for.
    :param kind: ``download`` or ``upload``, for the error texts.
    :return: the response of a workspace that has the operation.
    :raise ChatfilesError: the operation cannot be forwarded.
    """

    def perform(target: WorkspaceAddress) -> Awaitable[IResponse]:
        return context.gateway.perform(target, operation)

    target = await context.resolver.resolve(workspace_id, kind)
    request.via = target.via
    response = await accepted(context.resolver, target, perform(target), perform)
    request.via = way_of(response) or request.via
    timeout = request.site.header_timeout
    return await require_supported(operation.method, response, context.clock, timeout)
