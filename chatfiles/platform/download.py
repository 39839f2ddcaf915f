"""
``GET /workspaces/{id}/chat/download``: who, where, forward, relay (CONTRACT 4 and 6).
"""

from __future__ import annotations

from uuid import UUID

from twisted.web.iweb import UNKNOWN_LENGTH, IResponse

from chatfiles import headers
from chatfiles.errors import UpstreamFailed
from chatfiles.media_types import may_view_inline
from chatfiles.model import Scope
from chatfiles.paths import VirtualPath, check_form
from chatfiles.platform.context import PlatformContext
from chatfiles.platform.forward import Read, discard
from chatfiles.platform.resolve import Target, require_id
from chatfiles.query import parse_query
from chatfiles.resource import Answer, Endpoint
from chatfiles.streams.progress import ProgressWatch, acknowledged
from chatfiles.streams.relay import BodyRelay
from chatfiles.web.request import Request

__all__ = ["Download"]


class Download(Endpoint):
    """
    A file of a workspace.

    :param workspace_id: from the URL; ``None`` when it is not a UUID.
    """

    operation = "download"

    def __init__(self, context: PlatformContext, workspace_id: UUID | None) -> None:
        super().__init__()
        self._context = context
        self._workspace_id = workspace_id

    async def render_GET(self, request: Request) -> Answer | None:
        """Fetch the file and pass it on."""
        context = self._context
        await context.authenticator.for_workspace(request, self._workspace_id, Scope.READ)
        request.workspace = str(self._workspace_id or "-")
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
        _copy_head(request, response, path, inline)
        await self._relay(request, response)
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
        raise UpstreamFailed(
            "workspace refused the platform's credentials", code="workspace_refused_credentials"
        )

    async def _relay(self, request: Request, response: IResponse) -> None:
        expected = None if response.length is UNKNOWN_LENGTH else response.length
        request.write(b"")  # the head
        relay = BodyRelay(request, expected)
        acked = acknowledged(request.channel.transport)
        timeout, clock = self._context.idle_timeout, self._context.clock
        silent = ProgressWatch(
            clock, timeout, relay.upstream_state, lambda: _stalled(request, relay)
        )
        stuck = ProgressWatch(
            clock,
            timeout,
            # A caller is late only while it is us who wait for it.
            lambda: acked() if relay.paused else object(),
            lambda: request.abort("client_stalled"),
        )
        try:
            response.deliverBody(relay)
            await relay.done
        finally:
            silent.stop()
            stuck.stop()


def _stalled(request: Request, relay: BodyRelay) -> None:
    request.outcome = request.outcome or "upstream_stalled"
    relay.drop()


def _copy_head(request: Request, response: IResponse, path: VirtualPath, inline: bool) -> None:
    """
    Relay the status and the fields that may pass.  A workspace belongs to its owner: what it says
    must not make a browser run anything in the name of the platform.
    """
    request.setResponseCode(response.code)
    for name in headers.RELAYED_RESPONSE_HEADERS:
        values = response.headers.getRawHeaders(name)
        if values is not None:
            request.responseHeaders.setRawHeaders(name, values[:1])
    # Twisted keeps the length of a body apart from the fields.
    if (
        response.length is not UNKNOWN_LENGTH
        and request.method != b"HEAD"
        and response.code not in (204, 304)
    ):
        request.setHeader(b"Content-Length", b"%d" % response.length)
    _make_safe(request, path, inline)


def _make_safe(request: Request, path: VirtualPath, inline: bool) -> None:
    fields = request.responseHeaders
    media_type = (fields.getRawHeaders(b"content-type") or [b"application/octet-stream"])[0]
    essence = media_type.split(b";")[0].strip().lower().decode("latin-1")
    disposition = (fields.getRawHeaders(b"content-disposition") or [b""])[0]
    shown = inline and may_view_inline(essence)
    if request.code in (200, 206):
        fields.setRawHeaders(b"Content-Type", [media_type])
        if not disposition.lower().startswith(b"attachment;") and not (
            shown and disposition.lower().startswith(b"inline;")
        ):
            fields.setRawHeaders(
                b"Content-Disposition", [headers.content_disposition(path.name, inline=shown)]
            )
    fields.setRawHeaders(b"Cache-Control", [b"private, no-cache"])
    fields.setRawHeaders(b"X-Content-Type-Options", [b"nosniff"])
    fields.setRawHeaders(
        b"Content-Security-Policy", [headers.CSP_INLINE if shown else headers.CSP_ATTACHMENT]
    )
