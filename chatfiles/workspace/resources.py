"""
The workspace's routes.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource

from chatfiles import headers, ranges
from chatfiles.credentials import bearer
from chatfiles.errors import PreconditionFailed, RangeNotSatisfiable, ReadFailed, Unavailable
from chatfiles.interfaces import IFileStore
from chatfiles.model import FileFacts
from chatfiles.paths import check_form
from chatfiles.probes import Health, Ready
from chatfiles.query import parse_query
from chatfiles.resource import Answer, Branch, Endpoint, Fields, error_answer
from chatfiles.streams.file import in_flight_limit, send_file
from chatfiles.streams.progress import RELAYED_PATIENCE, ProgressWatch, acknowledged, patience
from chatfiles.streams.source import FileSource
from chatfiles.threads import Threads
from chatfiles.web.request import Request
from chatfiles.workspace.credentials import SecretFile, require_secret
from chatfiles.workspace.mechanisms import WouldWait
from chatfiles.workspace.store import OpenFile
from chatfiles.workspace.uploads.resource import Ingest, IngestContext

__all__ = ["FileRead", "WorkspaceContext", "workspace_tree"]

Query = dict[bytes, list[bytes]]

#: Files up to this many bytes are read where they are opened, and sent with their head.
SMALL_FILE = 64 * 1024
#: Seconds in which a thread has to have looked whether the role is ready.
READY_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class WorkspaceContext:
    """
    What the workspace's routes work with.

    :param secret: what the platform has to present.
    :param threads: for calls that may block.
    :param idle_timeout: seconds without progress after which a transfer is cut.
    :param now_ns: the time of day in nanoseconds, for validators.
    :param tail: see `chatfiles.streams.file.send_file`.
    """

    store: IFileStore
    secret: SecretFile
    threads: Threads
    clock: IReactorTime
    idle_timeout: float
    now_ns: Callable[[], int] = time.time_ns
    tail: int = field(default_factory=in_flight_limit)


@dataclass(frozen=True, slots=True)
class _Found:
    """The file that a request names, and its content where that is small."""

    file: OpenFile
    content: bytes | None


class FileRead(Endpoint):
    """``GET /internal/file/read?path=`` (CONTRACT 5 and 6)."""

    operation = "read"

    def __init__(self, context: WorkspaceContext) -> None:
        super().__init__()
        self._context = context

    async def render_GET(self, request: Request) -> Answer | None:
        """Serve the file, or the part of it that was asked for."""
        query = parse_query(request.query)
        found = await self._found(bearer(request.requestHeaders), query)
        try:
            return await self._serve(request, query, found)
        finally:
            self._close(found.file)

    async def _serve(self, request: Request, query: Query, found: _Found) -> Answer | None:
        context, file = self._context, found.file
        inline = headers.wants_inline(query.get(b"disposition", []))
        now_ns = context.now_ns()
        decision = ranges.decide(request.method, request.requestHeaders, file.facts, now_ns)
        if decision.status == 412:
            raise PreconditionFailed
        if decision.status == 416:
            return _unsatisfiable(request, decision.headers)
        request.setResponseCode(decision.status)
        if decision.status == 304:
            fields = headers.validator_headers(file.facts, now_ns)
        else:
            fields = headers.representation_headers(
                file.facts, file.name, inline=inline, now_ns=now_ns
            )
            request.setHeader(b"Content-Length", b"%d" % decision.length)
        for name, value in (*fields, *decision.headers):
            request.setHeader(name, value)
        if request.method == b"HEAD" or not decision.length:
            return None
        if found.content is not None:
            end = decision.first + decision.length
            request.write(found.content[decision.first : end])
        else:
            await self._send(request, file, decision.first, decision.length)
        return None

    async def _found(self, presented: str | None, query: Query) -> _Found:
        """:return: what the request names, without a thread where the kernel has it in memory."""
        with suppress(WouldWait):
            return self._find(presented, query, at_once=True)
        return await self._context.threads.run_or_discard(
            lambda late: self._close(late.file), self._find, presented, query
        )

    def _close(self, file: OpenFile) -> None:
        if file.local:
            file.close()
        else:
            self._context.threads.run(file.close).addErrback(lambda _: None)

    def _find(self, presented: str | None, query: Query, *, at_once: bool = False) -> _Found:
        """Judge the caller, then the path, then open."""
        context = self._context
        require_secret(context.secret, presented, at_once=at_once)
        path = check_form(query.get(b"path", []))
        headers.wants_inline(query.get(b"disposition", []))
        file = context.store.open_at_once(path) if at_once else context.store.open(path)
        try:
            return _Found(file, _small_content(file, os.RWF_NOWAIT if at_once else 0))
        except BaseException:
            file.close()
            raise

    async def _send(self, request: Request, file: OpenFile, first: int, length: int) -> None:
        context = self._context
        request.write(b"")  # the head
        acked = acknowledged(request.channel.transport)
        done, sent = send_file(
            request, FileSource(file), first, length, context.threads.run, context.tail
        )
        timeout = context.idle_timeout * (RELAYED_PATIENCE if request.relayed else 1)
        watch = ProgressWatch(
            context.clock,
            timeout,
            lambda: (sent(), acked()),
            lambda: request.abort("client_stalled"),
            patience(request.channel.transport, timeout),
        )
        try:
            await done
        finally:
            watch.stop()
            request.sentLength = max(request.sentLength, sent())


def _small_content(file: OpenFile, flags: int) -> bytes | None:
    """
    :param flags: of ``preadv2``.
    :return: the whole of a small file as of one version; ``None`` if it must be sent with care.
    """
    size = file.facts.size
    if size > SMALL_FILE:
        return None
    content = bytearray(size)
    try:
        count = os.preadv(file.fd, [content], 0, flags)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP):
            return None
        raise ReadFailed from error
    # Shorter, or of another time: it is being written.
    whole = count == size and FileFacts.of(os.fstat(file.fd)) == file.facts
    return bytes(content) if whole else None


def _unsatisfiable(request: Request, fields: Fields) -> Answer:
    answer = error_answer(RangeNotSatisfiable(), request.request_id)
    return Answer(answer.status, answer.body, (*answer.fields, *fields))


def workspace_tree(context: WorkspaceContext, ingest: IngestContext) -> Resource:
    """:return: the resource tree of a workspace."""

    async def check() -> None:
        looked = context.threads.run(context.secret.present)
        looked.addTimeout(READY_TIMEOUT, context.clock)
        try:
            present = await looked
        except defer.TimeoutError:
            raise Unavailable("the file system does not answer", retry_after=30) from None
        if not present:
            raise Unavailable("no inbound secret yet", code="not_enrolled", retry_after=30)

    root, internal, file = Branch(), Branch(), Branch()
    root.putChild(b"health", Health("workspace"))
    root.putChild(b"ready", Ready("workspace", check))
    root.putChild(b"internal", internal)
    chat, uploads = Branch(), Branch()
    internal.putChild(b"chat", chat)
    chat.putChild(b"uploads", uploads)
    uploads.putChild(b"ingest", Ingest(ingest))
    internal.putChild(b"file", file)
    file.putChild(b"read", FileRead(context))
    return root
