"""
``GET /workspaces/{id}/chat/download``: who, where, forward, relay (CONTRACT 4 and 6).
"""

from __future__ import annotations

from uuid import UUID

from twisted.web.iweb import IResponse

from chatfiles import headers
from chatfiles.errors import VersionNotSupported
from chatfiles.model import Scope
from chatfiles.paths import check_form
from chatfiles.platform import refusals
from chatfiles.platform.context import PlatformContext
from chatfiles.platform.forward import Read, discard
from chatfiles.platform.relay import copy_head, make_safe, relay_body, require_provable
from chatfiles.platform.resolve import Target, require_id
from chatfiles.query import parse_query
from chatfiles.resource import Answer, Endpoint
from chatfiles.web.request import Request

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

    async def render_GET(self, request: Request) -> Answer | None:
        """Fetch the file and pass it on."""
        context = self._context
        request.workspace = str(self._workspace_id or "")
        await context.authenticator.for_workspace(request, self._workspace_id, Scope.READ)
        workspace_id = require_id(self._workspace_id)
        query = parse_query(request.query)
        path = check_form(query.get(b"path", []))
        inline = headers.wants_inline(query.get(b"disposition", []))
        target = await context.resolver.resolve(workspace_id, "download")
        read = Read(
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
        copy_head(request, response)
        make_safe(request, path.name, inline)
        await relay_body(request, response, context.clock, context.idle_timeout)
        return None

    async def _ask(self, target: Target, read: Read) -> IResponse:
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
        raise refusals.credentials_refused()
