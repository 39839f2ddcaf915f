"""
The workspace's part of the fast path: small files, their parts, ``HEAD`` and 304, if the kernel has
everything in memory.  It uses the rules and the store of the ordinary route, with fewer objects.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any, NamedTuple

from chatfiles.errors import ChatfilesError
from chatfiles.http.server.fast_path import FastRequest
from chatfiles.http.server.responses import reason_phrase
from chatfiles.model import FileFacts
from chatfiles.posix.openat2 import WouldWait
from chatfiles.rules import conditional_requests, file_headers
from chatfiles.rules.conditional_requests import Decision
from chatfiles.rules.digest_fields import WANT_REPR_DIGEST
from chatfiles.rules.header_fields import header_lines
from chatfiles.rules.query import parse_query
from chatfiles.rules.touched_paths import touched_path
from chatfiles.rules.virtual_paths import VirtualPath, check_form
from chatfiles.workspace.routes.context import WorkspaceContext
from chatfiles.workspace.routes.opening import small_content
from chatfiles.workspace.routes.read import OPERATION, PATHS

__all__ = ["FastRead"]

#: Parsed targets, and versions of files, that are remembered.
_TARGETS, _VERSIONS = 4096, 4096
_WANTS_DIGEST = WANT_REPR_DIGEST.lower()
_PATHS = frozenset(path.encode("ascii") for path in PATHS)
_START = {status: b"%d %b" % (status, reason_phrase(status)) for status in (200, 206, 304)}


class _Asked(NamedTuple):
    """What the target of a request names."""

    path: VirtualPath
    inline: bool
    touched: dict[str, Any]


class FastRead:
    """
    Serves `read <chatfiles.workspace.routes.read.read>` on the fast path.

    :param context: as for the ordinary route.
    """

    def __init__(self, context: WorkspaceContext) -> None:
        self._context = context

    def serve(self, request: FastRequest) -> bool:
        """See `chatfiles.http.server.fast_path.FastRoutes.serve`."""
        asked = _asked(request.target)
        if asked is None or _WANTS_DIGEST in request.headers.conditions:
            return False  # a digest may need a thread
        try:
            if not self._context.secret.has_digest_at_once(request.headers.digest):
                return False
            fd, facts = self._context.store.open_descriptor_at_once(asked.path)
            try:
                return self._respond(request, asked, fd, facts)
            finally:
                os.close(fd)
        except (WouldWait, ChatfilesError):
            return False  # the ordinary path waits for it, or reports it

    def _respond(self, request: FastRequest, asked: _Asked, fd: int, facts: FileFacts) -> bool:
        now_ns, conditions = self._context.now_ns(), request.headers.conditions
        decision = Decision(200, 0, facts.size)  # as the general rule decides without conditions
        if conditions:
            decision = conditional_requests.decide(request.method, conditions, facts, now_ns)
        start = _START.get(decision.status)
        if start is None:
            return False
        body: bytes | bytearray = b""
        if request.method != b"HEAD" and decision.length:
            content = small_content(fd, facts, os.RWF_NOWAIT)
            if content is None:
                return False
            body = content
            if decision.length != len(content):
                body = content[decision.first : decision.first + decision.length]
        lines = _header_lines(asked, facts, decision, now_ns)
        request.operation, request.via_proxy = OPERATION, request.headers.via
        known = self._context.digests.known(facts)
        request.touched = asked.touched | {"sha256": known.hex()} if known else asked.touched
        request.respond(decision.status, start, lines, body)
        return True


@lru_cache(_TARGETS)
def _asked(target: bytes) -> _Asked | None:
    """:return: what *target* names; ``None`` if it is another route, or malformed."""
    path, _, query = target.partition(b"?")
    if path not in _PATHS:
        return None
    values = parse_query(query)
    try:
        return _Asked(
            check_form(values.get(b"path", [])),
            file_headers.wants_inline(values.get(b"disposition", [])),
            dict(touched_path(values)),
        )
    except ChatfilesError:
        return None


def _header_lines(asked: _Asked, facts: FileFacts, decision: Decision, now_ns: int) -> bytes:
    """:return: the headers of the file, in the order of the ordinary path."""
    if decision.status == 304:
        return header_lines(file_headers.validator_headers(facts, now_ns))
    settled = facts.mtime_ns + conditional_requests.SETTLED_NS
    # The headers of a version are the same at all times after that.
    make, at = (_cached_lines, settled) if settled <= now_ns else (_lines, now_ns)
    lines = make(facts, asked.path.name, asked.inline, at)
    more = header_lines(decision.headers) if decision.headers else b""
    return b"Content-Length: %d\r\n%b%b" % (decision.length, lines, more)


def _lines(facts: FileFacts, name: bytes, inline: bool, now_ns: int) -> bytes:
    return header_lines(
        file_headers.representation_headers(facts, name, inline=inline, now_ns=now_ns)
    )


_cached_lines = lru_cache(_VERSIONS)(_lines)
