"""
``GET /internal/fs/roots`` and ``GET /internal/fs/entries``: list the roots and directories of the
workspace, and describe single files (reference/listing).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Final, NamedTuple

from twisted.internet import defer
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from chatfiles.errors import Unavailable
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse, require_chunks
from chatfiles.rules.accept import JSON, NDJSON
from chatfiles.rules.bearer import bearer
from chatfiles.rules.entry_json import shown
from chatfiles.rules.listing_query import listing_query
from chatfiles.rules.query import parse_query
from chatfiles.rules.touched_paths import touched_path
from chatfiles.streams.step_sender import SteppedBody, StepSender
from chatfiles.workspace.inbound_secrets import require_secret
from chatfiles.workspace.listing.body import listing_body
from chatfiles.workspace.listing.lines import PART_BYTES
from chatfiles.workspace.routes.context import WorkspaceContext
from chatfiles.workspace.routes.opening import owner_of
from chatfiles.workspace.routes.sending import send

__all__ = ["OPERATION", "PATH", "ROOTS_PATH", "entries", "roots"]

#: The routes, and their name in the access log.
ROOTS_PATH, PATH, OPERATION = "/internal/fs/roots", "/internal/fs/entries", "list"

#: Seconds within which the file system of a root must respond to count as available.
ROOT_TIMEOUT: Final = 2.0

_Step = Callable[[], Deferred[bytes | None]]


async def roots(context: WorkspaceContext, _: Request) -> JSONResponse:
    """
    Look at each root with the threads of that root, so that one that hangs delays no other.

    :return: the response, with one element for each root.
    """
    looking = {root: _is_available(context, root) for root in context.store.roots()}
    try:
        elements = [
            {
                "path": root.decode("ascii"),
                "available": await is_available,
                "writable": [shown(prefix) for prefix in context.prefixes.of_root(root)],
            }
            for root, is_available in looking.items()
        ]
    finally:
        for is_available in looking.values():
            is_available.addErrback(lambda _: None)  # of those after the first that has failed
    return JSONResponse(200, {"roots": elements})


def _is_available(context: WorkspaceContext, root: bytes) -> Deferred[bool]:
    def hangs(failure: Failure) -> bool:
        failure.trap(defer.TimeoutError)
        return False

    looking = context.threads.run(context.store.is_available, root, owner=root)
    return looking.addTimeout(ROOT_TIMEOUT, context.clock).addErrback(hangs)


async def entries(context: WorkspaceContext, request: Request) -> None:
    """
    Check the secret, then describe what a path names, or send a page or a stream of what is in it.
    """
    # A platform that closes its side of the connection has given up (see `ingest`).
    is_proxy = request.requestHeaders.hasHeader(b"via")
    request.ends_with_client = is_proxy
    query = parse_query(request.query)
    request.touched = touched_path(query)
    owner = owner_of(query)
    # Never refused: once it is open, the request waits for one call at a time.
    run = partial(context.threads.run, owner=owner, refusable=False)

    def close(late: _Begun) -> None:
        run(late.body.close).addErrback(lambda _: None)

    begin = partial(
        _begin,
        context,
        bearer(request.requestHeaders),
        request.query,
        request.requestHeaders.getRawHeaders(b"accept", ()),
        partial(require_chunks, request),
    )
    begun = await context.threads.run(begin, owner=owner, discard=close)
    # The secret was checked: other clients must not get a platform's longer timeouts.
    request.via_proxy = is_proxy
    request.transfer.own(partial(close, begun))
    step: _Step = partial(run, begun.body.step)
    if begun.is_stream:
        with context.listings.one(_too_many()) if begun.is_deep else nullcontext():
            await _send(context, request, NDJSON, begun.first, step)
    else:
        await _send_whole(context, request, begun.first, step)


def _too_many() -> Unavailable:
    return Unavailable("too many listings at once", code="too_many_listings", retry_after=5)


class _Begun(NamedTuple):
    """
    A listing whose first step was made, so that an error in it is still sent as an error.

    :param is_deep: whether it is a stream over several levels.
    """

    body: SteppedBody
    first: bytes | None
    is_stream: bool
    is_deep: bool


def _begin(
    context: WorkspaceContext,
    presented: str | None,
    query: bytes,
    accept: Sequence[bytes],
    require_stream: Callable[[], None],
) -> _Begun:
    """Check the secret, then the parameters, then open what is listed.  Blocks."""
    require_secret(context.secret, presented)
    asked = listing_query(query, accept)
    if asked.is_stream:
        require_stream()
    most = context.max_list_entries
    body = listing_body(context.store, asked, most, context.now_ns, context.known_names)
    try:
        return _Begun(body, body.step(), asked.is_stream, asked.depth not in (0, 1))
    except BaseException:
        body.close()
        raise


async def _send_whole(
    context: WorkspaceContext, request: Request, part: bytes | None, step: _Step
) -> None:
    """Send a body that comes in one part, behind empty ones."""
    while part == b"":
        part = await step()
    text = part or b""
    request.setHeader(b"Content-Length", b"%d" % len(text))
    parts = iter([text[at : at + PART_BYTES] for at in range(0, len(text), PART_BYTES)])
    await _send(context, request, JSON, next(parts), lambda: succeed(next(parts, None)))


async def _send(
    context: WorkspaceContext, request: Request, media_type: bytes, first: bytes | None, step: _Step
) -> None:
    """Send the headers and the *first* part, then what *step* makes."""
    request.setHeader(b"Content-Type", media_type)
    request.setHeader(b"Cache-Control", b"no-store")
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    if request.method == b"HEAD":
        return
    request.write(first or b"")
    await send(context, request, StepSender(request, step))
