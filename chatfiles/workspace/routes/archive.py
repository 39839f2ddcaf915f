"""
``GET`` and ``POST /internal/fs/archive``: a folder, or several paths, as one archive
(reference/archives).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from twisted.internet import defer
from twisted.internet.defer import Deferred

from chatfiles.errors import Unavailable
from chatfiles.http.server.json_body import read_json
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import require_chunks
from chatfiles.rules.archive_request import (
    ArchiveFormat,
    ArchiveRequest,
    archive_body,
    archive_query,
)
from chatfiles.rules.file_headers import CSP_ATTACHMENT, content_disposition
from chatfiles.rules.touched_paths import touched_paths
from chatfiles.streams.step_sender import SteppedBody, StepSender
from chatfiles.workspace.archive.keepalive_bytes import trickle
from chatfiles.workspace.archive.manifest import Manifest
from chatfiles.workspace.archive.member import ArchiveWriter
from chatfiles.workspace.archive.plan import Counter, Plan
from chatfiles.workspace.archive.source import ArchiveSource
from chatfiles.workspace.archive.tar_members import GzipTarWriter, TarWriter
from chatfiles.workspace.archive.zip_members import ZipWriter
from chatfiles.workspace.routes.context import WorkspaceContext
from chatfiles.workspace.routes.sending import send

__all__ = ["OPERATION", "PATH", "archive", "archive_of_several"]

#: The route, and its name in the access log.
PATH, OPERATION = "/internal/fs/archive", "archive"

#: Seconds within which all files must have been counted.
COUNT_TIMEOUT: Final = 10.0

WRITERS: Final[dict[ArchiveFormat, Callable[[], ArchiveWriter]]] = {
    ArchiveFormat.ZIP: ZipWriter,
    ArchiveFormat.TAR: TarWriter,
    ArchiveFormat.TAR_GZ: GzipTarWriter,
}
T = TypeVar("T")


async def archive(context: WorkspaceContext, request: Request) -> None:
    """Send an archive of the path in the query, or for ``HEAD`` only count its files."""
    await _respond(context, request, archive_query(request.query))


async def archive_of_several(context: WorkspaceContext, request: Request) -> None:
    """Send an archive of the paths in the body."""
    await _respond(context, request, archive_body(await read_json(request)))


async def _respond(context: WorkspaceContext, request: Request, wanted: ArchiveRequest) -> None:
    # A platform that closes its side of the connection has given up (see `ingest`).
    request.ends_with_client = request.via_proxy = request.requestHeaders.hasHeader(b"via")
    request.touched = touched = dict(touched_paths(path.raw for path in wanted.paths))
    require_chunks(request)
    with context.archives.slots.one(_too_many()):
        started_ns = context.now_ns()
        plan = await _count(context, wanted)
        _set_headers(request, wanted, plan)
        if request.method != b"HEAD":
            paths = [path.raw for path in plan.paths]
            manifest = Manifest(context.archives.workspace, paths, started_ns)
            writer = WRITERS[wanted.format]()
            source = ArchiveSource(context.store, plan, writer, manifest, context.now_ns)
            try:
                await _send(context, request, source)
            finally:
                touched |= {"members": manifest.members, "skipped": manifest.skipped}


def _too_many() -> Unavailable:
    return Unavailable("too many archives at once", code="too_many_archives", retry_after=5)


async def _count(context: WorkspaceContext, wanted: ArchiveRequest) -> Plan:
    counter = Counter(context.store, context.archives.limits, wanted.paths)
    counting = Deferred.fromCoroutine(_count_each(context, counter))
    counting.addTimeout(COUNT_TIMEOUT, context.clock)
    try:
        return await counting
    except defer.TimeoutError:
        text = "archive could not be prepared in time"
        raise Unavailable(text, code="archive_not_prepared", retry_after=1) from None
    finally:
        counter.stop()


async def _count_each(context: WorkspaceContext, counter: Counter) -> Plan:
    for root, call in counter.calls():
        await context.threads.run(call, owner=root)
    return counter.plan()


def _set_headers(request: Request, wanted: ArchiveRequest, plan: Plan) -> None:
    for header, value in (
        (b"Content-Type", wanted.format.media_type),
        (b"Content-Disposition", content_disposition(wanted.file_name(plan.layout.top))),
        (b"Chatfiles-Archive-Entries", b"%d" % plan.entries),
        (b"Chatfiles-Archive-Bytes", b"%d" % plan.bytes),
        (b"Accept-Ranges", b"none"),
        (b"Cache-Control", b"no-store"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Content-Security-Policy", CSP_ATTACHMENT),
    ):
        request.setHeader(header, value)


async def _send(context: WorkspaceContext, request: Request, source: ArchiveSource) -> None:
    body = SteppedBody(trickle(source, context.clock.seconds), source.close)

    def in_thread(call: Callable[[], T]) -> Deferred[T]:
        # Never refused: the response has begun, and waits for one call at a time.
        return context.threads.run(call, owner=source.owner, refusable=False)

    request.transfer.own(lambda: in_thread(body.close).addErrback(lambda _: None))
    request.write(b"")  # sends the headers
    await send(context, request, StepSender(request, partial(in_thread, body.step)))
