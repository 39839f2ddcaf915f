"""
``GET /internal/file/read``: a file, or a part of it.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from twisted.internet.interfaces import IReactorTime

from chatfiles.errors import PreconditionFailed, RangeNotSatisfiable, ReadFailed
from chatfiles.http.server.endpoint import Endpoint, Fields, JSONResponse, error_response
from chatfiles.http.server.request import Request
from chatfiles.model import FileFacts
from chatfiles.posix.openat2 import WouldWait
from chatfiles.rules import conditional_requests, file_headers
from chatfiles.rules.bearer import bearer
from chatfiles.rules.query import parse_query
from chatfiles.rules.virtual_paths import check_form
from chatfiles.runtime.threads import Threads
from chatfiles.streams.file_sender import file_sender, in_flight_limit
from chatfiles.streams.file_source import FileSource
from chatfiles.workspace.files.interface import IFileStore
from chatfiles.workspace.files.open_file import OpenFile
from chatfiles.workspace.secret_file import SecretFile, require_secret

__all__ = ["FileRead", "WorkspaceContext"]

Query = dict[bytes, list[bytes]]

#: Bytes of the largest file that is read where it is opened, and sent together with its head.
SMALL_FILE = 64 * 1024


@dataclass(frozen=True, slots=True)
class WorkspaceContext:
    """
    What the workspace's routes work with.

    :param secret: what the platform has to present.
    :param threads: for calls that may block.
    :param idle_timeout: seconds without progress after which a transfer is cut.
    :param now_ns: the time of day in nanoseconds, for validators.
    :param tail: see `chatfiles.streams.file_sender.file_sender`.
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
    """The file that a request names, and its content if that is small."""

    file: OpenFile
    content: bytes | None


class FileRead(Endpoint):
    """``GET /internal/file/read?path=``."""

    operation = "read"

    def __init__(self, context: WorkspaceContext) -> None:
        super().__init__()
        self._context = context

    async def render_GET(self, request: Request) -> JSONResponse | None:
        """Send the file, or the part of it that was requested."""
        query = parse_query(request.query)
        found = await self._found(bearer(request.requestHeaders), query)
        context, file = self._context, found.file
        request.transfer.own(partial(self._close, file))
        inline = file_headers.wants_inline(query.get(b"disposition", []))
        now_ns = context.now_ns()
        decision = conditional_requests.decide(
            request.method, request.requestHeaders, file.facts, now_ns
        )
        if decision.status == 412:
            raise PreconditionFailed
        if decision.status == 416:
            return _unsatisfiable(request, decision.headers)
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
        if request.method == b"HEAD" or not decision.length:
            return None
        if found.content is not None:
            end = decision.first + decision.length
            request.write(found.content[decision.first : end])
        else:
            await self._send(request, file, decision.first, decision.length)
        return None

    async def _found(self, presented: str | None, query: Query) -> _Found:
        """:return: what the request names; without a thread if the kernel has it in memory."""
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
        """Check the secret, then the path, then open the file."""
        context = self._context
        require_secret(context.secret, presented, at_once=at_once)
        path = check_form(query.get(b"path", []))
        file_headers.wants_inline(query.get(b"disposition", []))
        file = context.store.open_at_once(path) if at_once else context.store.open(path)
        try:
            return _Found(file, _small_content(file, os.RWF_NOWAIT if at_once else 0))
        except BaseException:
            file.close()
            raise

    async def _send(self, request: Request, file: OpenFile, first: int, length: int) -> None:
        context, transfer = self._context, request.transfer
        request.write(b"")  # the head
        sender = file_sender(
            request,
            FileSource(file),
            first,
            length,
            context.threads.run,
            context.tail,
            transfer.set_backpressure,
        )
        transfer.begin_body(sender)
        transfer.watch_client(
            context.clock, context.idle_timeout, lambda taken: (sender.sent, taken)
        )
        sender.start()
        await sender.done


def _small_content(file: OpenFile, flags: int) -> bytes | None:
    """
    :param flags: of ``preadv2``.
    :return: all bytes of a small file, of one version; ``None`` if it has to be sent with a
        `FileSource`.
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
    # If it is shorter, or has another time, it is being written.
    whole = count == size and FileFacts.of(os.fstat(file.fd)) == file.facts
    return bytes(content) if whole else None


def _unsatisfiable(request: Request, fields: Fields) -> JSONResponse:
    response = error_response(RangeNotSatisfiable(), request.request_id)
    return JSONResponse(response.status, response.body, (*response.fields, *fields))
