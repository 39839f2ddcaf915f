"""
``GET /internal/file/read``, also named ``/internal/fs/file``: send a file, or a part of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from twisted.internet.task import deferLater

from chatfiles.errors import PreconditionFailed, RangeNotSatisfiable
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import Fields, JSONResponse, error_response
from chatfiles.rules import conditional_requests, file_headers
from chatfiles.rules.bearer import bearer
from chatfiles.rules.conditional_requests import Decision
from chatfiles.rules.digest_fields import (
    REPR_DIGEST,
    WANT_REPR_DIGEST,
    repr_digest,
    wants_sha256,
)
from chatfiles.rules.query import parse_query
from chatfiles.rules.touched_paths import touched_path
from chatfiles.streams.file_sender import file_sender
from chatfiles.streams.file_source import FileSource
from chatfiles.streams.in_flight import relayed_tail
from chatfiles.workspace.files.open_file import OpenFile
from chatfiles.workspace.routes.context import WorkspaceContext
from chatfiles.workspace.routes.opening import Found, Query, find, owner_of
from chatfiles.workspace.routes.sending import send

__all__ = ["OPERATION", "PATHS", "WorkspaceContext", "read"]

#: The names of the route, and its name in the access log.
PATHS, OPERATION = ("/internal/file/read", "/internal/fs/file"), "read"


async def read(context: WorkspaceContext, request: Request) -> JSONResponse | None:
    """
    Check the secret, then send the file, or the part of it that was requested.

    :return: the response if the requested part does not exist; else ``None``.
    """
    query = parse_query(request.query)
    request.touched = touched_path(query)
    owner = owner_of(query)
    wants_digest = wants_sha256(request.requestHeaders.getRawHeaders(WANT_REPR_DIGEST, ()))
    finding = _find_quiet if wants_digest else find
    found = await finding(context, bearer(request.requestHeaders), query)
    # Set only after the secret was checked: other clients must not get a platform's longer
    # timeouts.
    request.via_proxy = request.requestHeaders.hasHeader(b"via")
    request.transfer.own(partial(found.file.release, context.threads.run, owner))
    now_ns = context.now_ns()
    decision = conditional_requests.decide(
        request.method, request.requestHeaders, found.file.facts, now_ns
    )
    if decision.status == 412:
        raise PreconditionFailed
    if decision.status == 416:
        return _unsatisfiable(request, decision.headers)
    digest = await _digest(context, found, owner) if wants_digest else None
    inline = file_headers.wants_inline(query.get(b"disposition", []))
    _set_headers(request, found.file, decision, digest, inline=inline, now_ns=now_ns)
    if (known := digest or context.digests.known(found.file.facts)) is not None:
        request.touched = {**request.touched, "sha256": known.hex()}
    if request.method != b"HEAD" and decision.length:
        is_missing = wants_digest and digest is None
        await _send_part(context, request, found, owner, decision, is_missing)
    return None


def _set_headers(
    request: Request,
    file: OpenFile,
    decision: Decision,
    digest: bytes | None,
    *,
    inline: bool,
    now_ns: int,
) -> None:
    request.setResponseCode(decision.status)
    if decision.status == 304:
        fields = file_headers.validator_headers(file.facts, now_ns)
    else:
        fields = file_headers.representation_headers(
            file.facts, file.name, inline=inline, now_ns=now_ns
        )
        request.setHeader(b"Content-Length", b"%d" % decision.length)
    for name, value in (*fields, *decision.headers):
        request.setHeader(name, value)
    if digest is not None:
        request.setHeader(REPR_DIGEST, repr_digest(digest))


async def _find_quiet(context: WorkspaceContext, presented: str | None, query: Query) -> Found:
    """:return: the file, at a time at which its digest can be computed, if it does not change."""
    found = await find(context, presented, query)
    facts = found.file.facts
    seconds = context.digests.seconds_until_quiet(facts)
    if not seconds or facts.size > context.digests.inline_bytes:
        return found
    found.file.release(context.threads.run, owner_of(query))
    await deferLater(context.clock, seconds)
    return await find(context, presented, query)


async def _digest(context: WorkspaceContext, found: Found, owner: Hashable) -> bytes | None:
    """:return: the digest of the file, 32 bytes; ``None`` if it cannot be had now."""
    digests, facts = context.digests, found.file.facts
    if digests.seconds_until_quiet(facts):
        return None  # it has changed again
    if found.content is not None:
        return hashlib.sha256(found.content).digest()
    digest = digests.look_up(facts)
    if digest is None and facts.size <= digests.inline_bytes:
        digest = await digests.at_once(found.file, owner)
    return digest


def _digest_beside(
    context: WorkspaceContext, found: Found, owner: Hashable
) -> AbstractContextManager[None]:
    """:return: computes the digest of a large file until the context is left."""
    if found.file.facts.size <= context.digests.inline_bytes:
        return nullcontext()  # it was changed while its digest was computed
    return context.digests.beside(found.path.raw, found.file, owner)


async def _send_part(
    context: WorkspaceContext,
    request: Request,
    found: Found,
    owner: Hashable,
    decision: Decision,
    digest_is_missing: bool,
) -> None:
    """Send the bytes; if the digest is missing, it is computed meanwhile."""
    first, length = decision.first, decision.length
    if found.content is not None:
        request.write(found.content[first : first + length])
        return
    request.write(b"")  # sends the headers
    in_flight = context.in_flight
    sender = file_sender(
        request,
        FileSource(found.file),
        first,
        length,
        # Never refused: the response has begun, and waits for one call at a time.
        partial(context.threads.run, owner=owner, refusable=False),
        relayed_tail(in_flight) if request.relayed else in_flight,
    )
    with _digest_beside(context, found, owner) if digest_is_missing else nullcontext():
        await send(context, request, sender)


def _unsatisfiable(request: Request, fields: Fields) -> JSONResponse:
    response = error_response(RangeNotSatisfiable(), request.request_id)
    return JSONResponse(response.status, response.body, (*response.fields, *fields))
