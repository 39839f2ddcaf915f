"""
The platform's part of the fast path: downloads whose token and workspace are in memory, if the
response of the workspace is small and soon complete.  Every other response is left to the ordinary
route, which takes it from there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from chatfiles.errors import ChatfilesError
from chatfiles.http.server.fast_path import FastRequest
from chatfiles.http.server.observers import Actor
from chatfiles.http.server.responses import reason_phrase, serve
from chatfiles.http.server.router import Route
from chatfiles.model import parse_uuid
from chatfiles.platform.authentication import Access, actor_of
from chatfiles.platform.forwarding.gateway import original_response
from chatfiles.platform.forwarding.requests import PreparedRequest
from chatfiles.platform.forwarding.response import relayed_headers
from chatfiles.platform.forwarding.target import WorkspaceAddress
from chatfiles.platform.registry.cache import CachedRegistry
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.platform.routes.download import AskedFile, asked_file, relay
from chatfiles.platform.transfer_limits import Allowance
from chatfiles.platform.upstream.response import UpstreamResponse, headers_of
from chatfiles.rules.header_fields import HeaderValues, header_lines
from chatfiles.rules.touched_paths import touched_paths
from chatfiles.streams.equal_timeouts import EqualTimeouts

__all__ = ["FastDownload"]

#: Parsed targets, and header lines of responses, that are remembered.
_TARGETS, _RESPONSES = 4096, 4096
#: Bytes of a small body, and seconds within which all of it should arrive.
_SMALL, _WAIT = 64 * 1024, 0.25
#: Statuses that need nothing but relaying.  A 401 may be repeated.
_RELAYED = {
    status: b"%d %b" % (status, reason_phrase(status)) for status in (200, 206, 304, 404, 412, 416)
}


class _Download(NamedTuple):
    """A request that is admitted, as far as it is the same for each method, condition and id."""

    workspace: str
    token_id: UUID
    allowance: Allowance
    actor: Actor
    touched: Mapping[str, Any]
    file: AskedFile
    target: WorkspaceAddress
    prepared: PreparedRequest


class _Declined(Exception):
    """The ordinary path serves the request."""


class FastDownload:
    """
    Serves downloads on the fast path.

    :param context: as for the ordinary route.
    :param registry: knows the tokens and workspaces that are in memory.
    :param route: the ordinary route of downloads.
    """

    def __init__(
        self, context: PlatformContext, registry: CachedRegistry, route: Route[Access]
    ) -> None:
        self._context = context
        self._registry = registry
        self._waits = EqualTimeouts(context.clock, _WAIT)
        self._route = route
        before, after = route.path.encode("ascii").split(b"{workspace_id}")
        self._path = re.compile(re.escape(before) + b"([0-9A-Fa-f-]{36})" + re.escape(after))
        self._admitted = lru_cache(_TARGETS)(self._admit)

    def serve(self, request: FastRequest) -> bool:
        """See `chatfiles.http.server.fast_path.FastRoutes.serve`."""
        version = self._registry.version
        if version is None:
            return False
        try:
            download = self._admitted(version, request.headers.digest, request.target)
        except _Declined:
            return False
        if request.method != b"HEAD":
            if not download.allowance.begin():
                return False  # the ordinary route says which limit is reached
            request.release = download.allowance.end
        for _ in ("token", "workspace"):
            self._registry.looked_up(True)
        self._context.authenticator.used(download.token_id)
        request.operation = self._route.operation
        request.workspace, request.via = download.workspace, download.target.via
        request.actor, request.touched = download.actor, download.touched
        request.ends_with_client = self._route.ends_with_client
        reading = self._ask(request, download)
        request.cancel = reading.cancel
        arguments = (request, download)
        reading.addCallbacks(
            self._answered, self._failed, callbackArgs=arguments, errbackArgs=arguments
        )
        return True

    def _admit(self, _version: int, digest: bytes, target: bytes) -> _Download:
        """
        :param _version: of the cached values, on which the result depends.
        :param digest: of the bearer token.
        :param target: of the request.
        :return: the download, if the client may have it.
        :raise _Declined: it may not, or this is not known yet, or the request is another one.
        """
        route, _, query = target.partition(b"?")
        match = self._path.fullmatch(route)
        workspace_id = parse_uuid(match[1].decode("ascii")) if match is not None else None
        cached = workspace_id and self._registry.cached_pair(digest, workspace_id)
        if workspace_id is None or not cached:
            raise _Declined
        token, workspace = cached
        address = self._context.resolver.address_of(workspace)
        admits = self._context.authenticator.admits_token
        if address is None or not admits(digest, token, self._route.access, workspace_id):
            raise _Declined
        try:
            file = asked_file(query)
        except ChatfilesError:
            raise _Declined from None
        wanted = file.wanted(b"GET", HeaderValues(), "")
        prepared = self._context.gateway.prepare(address, wanted)
        allowance = self._context.transfers.allowance(workspace_id, str(token.id))
        touched, actor = touched_paths([file.path.raw]), actor_of(token)
        return _Download(
            str(workspace_id), token.id, allowance, actor, touched, file, address, prepared
        )

    def _ask(self, request: FastRequest, download: _Download) -> Deferred[IResponse]:
        gateway, conditions = self._context.gateway, request.headers.conditions
        if not conditions:
            trace = request.headers.trace
            return gateway.send(download.prepared, request.method, request.request_id, trace)
        wanted = download.file.wanted(
            request.method, conditions, request.request_id, request.headers.trace
        )
        return gateway.read(download.target, wanted)

    def _answered(self, response: IResponse, request: FastRequest, download: _Download) -> None:
        original = original_response(response)
        start = _RELAYED.get(original.code) if original is not None else None
        if original is not None:
            request.via = original.via
        if original is None or start is None:
            self._continue(response, request, download)
        elif (body := original.whole) is not None:
            try:
                lines = _lines(original, request.method, download.file)
            except Exception:
                self._continue(Failure(), request, download)
            else:
                request.respond(original.code, start, lines, body)
        elif original.is_coming(_SMALL):
            self._collect(original, response, request, download)
        else:
            self._continue(response, request, download)

    def _collect(
        self,
        original: UpstreamResponse,
        response: IResponse,
        request: FastRequest,
        download: _Download,
    ) -> None:
        """Wait for the rest of a small body, but not for long."""
        wait = self._waits.start(partial(self._continue, response, request, download))

        def ended() -> None:
            wait.stop()
            if not request.outcome:  # else its client has left
                self._answered(response, request, download)

        def left() -> None:
            wait.stop()
            original.stopProducing()

        request.cancel = left
        original.collect(ended)

    def _failed(self, failure: Failure, request: FastRequest, download: _Download) -> None:
        if not request.outcome:  # else its client has left
            self._continue(failure, request, download)

    def _continue(self, result: Any, request: FastRequest, download: _Download) -> None:
        """Let the ordinary route relay a response, or report a failure."""
        ordinary = request.hand_over()
        reading: Deferred[IResponse] = Deferred()
        reading.callback(result)
        serve(ordinary, relay(self._context, ordinary, download.file, download.target, reading))


def _lines(response: UpstreamResponse, method: bytes, file: AskedFile) -> bytes:
    """:return: the header lines with which *response* is relayed."""
    head = response.head
    find = _known_lines if head.usual else _header_lines
    return find(
        head.fields,
        head.length,
        head.status,
        response.length,
        method == b"HEAD",
        file.path.name,
        file.inline,
    )


def _header_lines(
    fields: tuple[tuple[bytes, bytes], ...],
    declared: int | None,
    status: int,
    length: int,
    is_head: bool,
    name: bytes,
    inline: bool,
) -> bytes:
    """:return: the header lines with which a response is relayed."""
    method, kept = (b"HEAD", declared) if is_head else (b"GET", None)
    headers = headers_of(fields, kept)
    return header_lines(relayed_headers(method, status, length, headers, name, inline).items())


_known_lines = lru_cache(_RESPONSES)(_header_lines)
