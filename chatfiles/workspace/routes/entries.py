"""
``GET /internal/fs/roots`` and ``GET /internal/fs/entries``: list the roots and directories of the
workspace, and describe single files (reference/listing).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from twisted.internet import defer
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.python.failure import Failure

from chatfiles.errors import VersionNotSupported
from chatfiles.http.server.endpoint import JSONResponse
from chatfiles.http.server.request import Request
from chatfiles.rules.accept import JSON, NDJSON
from chatfiles.rules.entries import ref_of, shown
from chatfiles.rules.listing_query import MAX_DEPTH, ListingQuery, listing_query
from chatfiles.streams.step_sender import SteppedBody, StepSender
from chatfiles.workspace.files.walk import Walk
from chatfiles.workspace.listing.entry import entry
from chatfiles.workspace.listing.lines import PART_BYTES, line_of_one, lines
from chatfiles.workspace.listing.page import page
from chatfiles.workspace.routes.context import WorkspaceContext

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
    names = context.store.roots()
    available = await gatherResults([_is_available(context, root) for root in names])
    elements = [
        {"path": root.decode("ascii"), "available": is_available, "writable": []}
        for root, is_available in zip(names, available, strict=True)
    ]
    return JSONResponse(200, {"roots": elements})


def _is_available(context: WorkspaceContext, root: bytes) -> Deferred[bool]:
    def hangs(failure: Failure) -> bool:
        failure.trap(defer.TimeoutError)
        return False

    looking = context.threads.run(context.store.is_available, root, owner=root)
    return looking.addTimeout(ROOT_TIMEOUT, context.clock).addErrback(hangs)


async def entries(context: WorkspaceContext, request: Request) -> JSONResponse | None:
    """
    Describe what a path names, or send a page or a stream of what is in it.

    :return: the response for a single path; else ``None``.
    """
    # The secret was checked: other clients must not get a platform's longer timeouts.
    request.via_proxy = request.requestHeaders.hasHeader(b"via")
    asked = listing_query(request.query, request.requestHeaders.getRawHeaders(b"accept", ()))
    if asked.is_stream:
        await _send_stream(context, request, asked)
    elif asked.depth:
        await _send_page(context, request, asked)
    else:
        run = context.threads.run
        return JSONResponse(200, await run(_description, context, asked, owner=asked.path.root))
    return None


async def _send_stream(context: WorkspaceContext, request: Request, asked: ListingQuery) -> None:
    if request.clientproto != b"HTTP/1.1":
        raise VersionNotSupported  # it has no chunks
    step = await _steps(context, request, asked, _lines)
    # An error of the first step is still sent as an error.
    await _send(context, request, NDJSON, await step(), step)


async def _send_page(context: WorkspaceContext, request: Request, asked: ListingQuery) -> None:
    step = await _steps(context, request, asked, _page)
    part: bytes | None = b""
    while part == b"":
        part = await step()  # the page comes in one part, at the end
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
    sender = StepSender(request, step)
    request.transfer.begin_body(sender)
    request.transfer.watch_client(
        context.clock,
        context.idle_timeout,
        lambda taken: (sender.progress, taken),
        lambda: sender.stalled,
    )
    sender.start()
    await sender.done


async def _steps(
    context: WorkspaceContext,
    request: Request,
    asked: ListingQuery,
    make: Callable[[WorkspaceContext, ListingQuery], SteppedBody],
) -> _Step:
    """
    :param make: opens what is listed, in a thread.
    :return: begins to make the next part, in a thread.
    """

    def close(body: SteppedBody) -> None:
        run(body.close).addErrback(lambda _: None)

    owner = asked.path.root
    # Never refused: once it is open, the request waits for one call at a time.
    run = partial(context.threads.run, owner=owner, refusable=False)
    body = await context.threads.run(make, context, asked, owner=owner, discard=close)
    request.transfer.own(partial(close, body))
    return partial(run, body.step)


def _description(context: WorkspaceContext, asked: ListingQuery) -> dict[str, object]:
    """:return: the response for what lies at the path itself."""
    raw, now_ns = asked.path.raw, context.now_ns()
    ref = ref_of(raw)
    found = context.store.look(asked.path)
    return {"path": shown(raw), "ref": ref, "entry": entry(found, ref, now_ns)}


def _page(context: WorkspaceContext, asked: ListingQuery) -> SteppedBody:
    directory = context.store.open_directory(asked.path)
    parts = page(directory, asked.limit, asked.after, context.now_ns)

    def release() -> None:
        parts.close()
        directory.close()

    return SteppedBody(parts, release)


def _lines(context: WorkspaceContext, asked: ListingQuery) -> SteppedBody:
    if asked.depth == 0:
        now_ns = context.now_ns()
        found = context.store.look(asked.path)
        return SteppedBody(iter([line_of_one(asked.path, found, now_ns)]), lambda: None)
    directory = context.store.open_directory(asked.path)
    walk = Walk(directory, asked.depth or MAX_DEPTH, looks_behind=asked.depth is None)
    most, with_parents = context.max_list_entries, asked.depth != 1
    parts = lines(walk, most, context.now_ns, with_parents=with_parents)
    return SteppedBody(parts, walk.close)
