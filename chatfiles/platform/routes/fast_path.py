"""
The platform's part of the fast path: downloads whose token and workspace are in memory, if the
whole response of the workspace arrives at once.  Every other response is left to the ordinary
route, which takes it from there.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from chatfiles.errors import ChatfilesError
from chatfiles.http.server.endpoint import reason_phrase, serve
from chatfiles.http.server.fast_path import FastRequest
from chatfiles.http.server.router import Route
from chatfiles.model import parse_uuid
from chatfiles.platform.authentication import Access
from chatfiles.platform.forwarding.gateway import original_response
from chatfiles.platform.forwarding.response import relayed_headers
from chatfiles.platform.forwarding.target import WorkspaceAddress
from chatfiles.platform.registry.cache import CachedRegistry
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.platform.routes.download import AskedFile, asked_file, relay
from chatfiles.platform.upstream.response import UpstreamResponse, headers_of
from chatfiles.rules.header_fields import header_lines

__all__ = ["FastDownload"]

#: Parsed targets, and header lines of responses, that are remembered.
_TARGETS, _RESPONSES = 2048, 2048
#: Statuses that need nothing but relaying.  A 401 may be repeated.
_RELAYED = {
    status: b"%d %b" % (status, reason_phrase(status)) for status in (200, 206, 304, 404, 412, 416)
}


class _Asked(NamedTuple):
    """What the target of a request names."""

    workspace_id: UUID
    text: str
    file: AskedFile


class _Pending(NamedTuple):
    """A request that waits for its workspace."""

    request: FastRequest
    asked: _Asked
    target: WorkspaceAddress


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
        self._route = route
        before, after = route.path.encode("ascii").split(b"{workspace_id}")
        path = re.compile(re.escape(before) + b"([0-9A-Fa-f-]{36})" + re.escape(after))
        self._parse = lru_cache(_TARGETS)(lambda target: _asked(path, target))

    def serve(self, request: FastRequest) -> bool:
        """See `chatfiles.http.server.fast_path.FastRoutes.serve`."""
        asked: _Asked | None = self._parse(request.target)
        target = self._admitted(request, asked) if asked is not None else None
        if asked is None or target is None:
            return False
        request.operation = self._route.operation
        request.workspace = asked.text
        request.ends_with_client = self._route.ends_with_client
        wanted = asked.file.wanted(request.method, request.headers.conditions, request.request_id)
        reading: Deferred[IResponse] = self._context.gateway.read(target, wanted)
        request.cancel = reading.cancel
        pending = _Pending(request, asked, target)
        reading.addCallbacks(
            self._answered, self._failed, callbackArgs=(pending,), errbackArgs=(pending,)
        )
        return True

    def _admitted(self, request: FastRequest, asked: _Asked) -> WorkspaceAddress | None:
        """:return: the address of the workspace, if the client may read its files."""
        digest = request.headers.digest
        cached = self._registry.cached_pair(digest, asked.workspace_id)
        if cached is None:
            return None
        token, workspace = cached
        target = self._context.resolver.address_of(workspace)
        admits = self._context.authenticator.admits_token
        if target is None or not admits(digest, token, self._route.access, asked.workspace_id):
            return None
        return target

    def _answered(self, response: IResponse, pending: _Pending) -> None:
        original, request = original_response(response), pending.request
        body = original.whole if original is not None else None
        start = _RELAYED.get(response.code)
        if original is None or body is None or start is None:
            self._continue(response, pending)
            return
        try:
            lines = _lines(original, request.method, pending.asked.file)
        except Exception:
            self._continue(Failure(), pending)
            return
        request.respond(response.code, start, lines, body)

    def _failed(self, failure: Failure, pending: _Pending) -> None:
        if not pending.request.outcome:  # else its client has left
            self._continue(failure, pending)

    def _continue(self, result: Any, pending: _Pending) -> None:
        """Let the ordinary route relay a response, or report a failure."""
        request, asked, target = pending
        ordinary = request.hand_over()
        reading: Deferred[IResponse] = Deferred()
        reading.callback(result)
        serve(ordinary, relay(self._context, ordinary, asked.file, target, reading))


def _asked(path: re.Pattern[bytes], target: bytes) -> _Asked | None:
    """:return: what *target* names; ``None`` if it is another route, or malformed."""
    route, _, query = target.partition(b"?")
    match = path.fullmatch(route)
    workspace_id = parse_uuid(match[1].decode("ascii")) if match is not None else None
    if workspace_id is None:
        return None
    try:
        return _Asked(workspace_id, str(workspace_id), asked_file(query))
    except ChatfilesError:
        return None


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
