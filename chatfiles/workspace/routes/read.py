"""
``GET /internal/file/read``: send a file, or a part of it.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from twisted.internet.interfaces import IReactorTime

from chatfiles.errors import PreconditionFailed, RangeNotSatisfiable, ReadFailed
from chatfiles.http.server.endpoint import Fields, JSONResponse, error_response
from chatfiles.http.server.request import Request
from chatfiles.model import FileFacts
from chatfiles.posix.openat2 import WouldWait
from chatfiles.rules import conditional_requests, file_headers
from chatfiles.rules.bearer import bearer
from chatfiles.rules.query import parse_query
from chatfiles.rules.virtual_paths import ROOTS, check_form
from chatfiles.runtime.threads import Threads
from chatfiles.streams.file_sender import file_sender
from chatfiles.streams.file_source import FileSource
from chatfiles.streams.in_flight import in_flight_limit, relayed_tail
from chatfiles.workspace.files.interface import IFileStore
from chatfiles.workspace.files.open_file import OpenFile
from chatfiles.workspace.secret_file import SECRET_OWNER, SecretFile, require_secret

__all__ = ["OPERATION", "PATH", "WorkspaceContext", "read", "small_content"]

#: The route, and its name in the access log.
PATH, OPERATION = "/internal/file/read", "read"

Query = dict[bytes, list[bytes]]

#: Bytes of the largest file that is read when it is opened, and sent together with the headers.
SMALL_FILE = 64 * 1024


@dataclass(frozen=True, slots=True)
class WorkspaceContext:
    """
    The context of the workspace's routes.

    :param store: opens the files.
    :param secret: the inbound secret, which the platform must present.
    :param threads: run calls that may block.
    :param clock: runs timers.
    :param idle_timeout: seconds without progress after which a transfer is aborted.
    :param now_ns: returns the time of day in nanoseconds, for validators.
    :param in_flight: see `chatfiles.streams.in_flight.in_flight_limit`.
    """

    store: IFileStore
    secret: SecretFile
    threads: Threads
    clock: IReactorTime
    idle_timeout: float
    now_ns: Callable[[], int] = time.time_ns
    in_flight: int = field(default_factory=in_flight_limit)


@dataclass(frozen=True, slots=True)
class _Found:
    """The file that a request names, and its content if that is small."""

    file: OpenFile
    content: bytes | None


async def read(context: WorkspaceContext, request: Request) -> JSONResponse | None:
    """
    Check the secret, then send the file, or the part of it that was requested.

    :return: the response if the requested part does not exist; else ``None``.
    """
    query = parse_query(request.query)
    found = await _found(context, bearer(request.requestHeaders), query)
    # Set only after the secret was checked: other clients must not get a platform's longer
    # timeouts.
    request.via_proxy = request.requestHeaders.hasHeader(b"via")
    file = found.file
    request.transfer.own(partial(_close, context, file, _owner(query)))
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
        await _send(context, request, query, file, decision.first, decision.length)
    return None


async def _found(context: WorkspaceContext, presented: str | None, query: Query) -> _Found:
    """:return: the requested file; opened without a thread if the kernel has it in memory."""
    with suppress(WouldWait):
        return _find(context, presented, query, at_once=True)
    owner = _owner(query)
    return await context.threads.run(
        _find,
        context,
        presented,
        query,
        owner=owner,
        discard=lambda late: _close(context, late.file, owner),
    )


def _close(context: WorkspaceContext, file: OpenFile, owner: Hashable) -> None:
    if file.local:
        file.close()
    else:
        closing = context.threads.run(file.close, owner=owner, refusable=False)
        closing.addErrback(lambda _: None)


def _find(
    context: WorkspaceContext, presented: str | None, query: Query, *, at_once: bool = False
) -> _Found:
    """Check the secret, then the path, then open the file."""
    require_secret(context.secret, presented, at_once=at_once)
    path = check_form(query.get(b"path", []))
    file_headers.wants_inline(query.get(b"disposition", []))
    file = context.store.open_at_once(path) if at_once else context.store.open(path)
    try:
        return _Found(file, small_content(file, os.RWF_NOWAIT if at_once else 0))
    except BaseException:
        file.close()
        raise


async def _send(
    context: WorkspaceContext,
    request: Request,
    query: Query,
    file: OpenFile,
    first: int,
    length: int,
) -> None:
    request.write(b"")  # sends the headers
    in_flight = context.in_flight
    sender = file_sender(
        request,
        FileSource(file),
        first,
        length,
        # Never refused: the response has begun, and waits for one call at a time.
        partial(context.threads.run, owner=_owner(query), refusable=False),
        relayed_tail(in_flight) if request.relayed else in_flight,
    )
    request.transfer.begin_body(sender)
    request.transfer.watch_client(
        context.clock,
        context.idle_timeout,
        lambda taken: (sender.sent, taken),
        lambda: sender.stalled,
    )
    sender.start()
    await sender.done


def _owner(query: Query) -> Hashable:
    """:return: the owner whose threads the request uses: the root of its path."""
    path = query.get(b"path", [b""])[0]
    root = b"/" + path[1:].partition(b"/")[0]
    return root if root in ROOTS else SECRET_OWNER  # such a request reads only the secret


def small_content(file: OpenFile, flags: int) -> bytes | None:
    """
    :param file: an open file.
    :param flags: flags of ``preadv2``.
    :return: all bytes of a small file, in one version; ``None`` if the file must be sent with a
        `FileSource`.
    :raise ReadFailed: an I/O error.
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
    # If the file is shorter, or its time has changed, it is being written.
    whole = count == size and FileFacts.of(os.fstat(file.fd)) == file.facts
    return bytes(content) if whole else None


def _unsatisfiable(request: Request, fields: Fields) -> JSONResponse:
    response = error_response(RangeNotSatisfiable(), request.request_id)
    return JSONResponse(response.status, response.body, (*response.fields, *fields))
