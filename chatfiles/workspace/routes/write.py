"""
``PUT`` and ``DELETE /internal/fs/file``, ``POST /internal/fs/directories`` and ``POST
/internal/fs/move`` (reference/writes).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from chatfiles.http.server.json_body import read_json
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.rules.conditional_requests import WriteConditions
from chatfiles.rules.digest_fields import REPR_DIGEST, repr_digest
from chatfiles.rules.entry_json import format_time, ref_of
from chatfiles.rules.query import parse_query
from chatfiles.rules.touched_paths import touched_move, touched_path
from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.rules.write_request import (
    check_write_head,
    flag,
    given_digests,
    move_body,
    path_of,
    write_options,
)
from chatfiles.runtime.threads import Threads
from chatfiles.streams.body_sink import SinkFeeder, sink_budget
from chatfiles.streams.memory_budget import MemoryBudget
from chatfiles.workspace.publication.changes import Changes
from chatfiles.workspace.publication.file_write import AskedWrite, FileWrite, FileWrites, Written

__all__ = [
    "DIRECTORIES",
    "FILE",
    "MOVE",
    "WriteContext",
    "delete_file",
    "make_directory",
    "move",
    "put_file",
]

FILE, DIRECTORIES, MOVE = "/internal/fs/file", "/internal/fs/directories", "/internal/fs/move"


@dataclass(frozen=True, slots=True)
class WriteContext:
    """
    The context of these routes.

    :param writes: writes files.
    :param max_file_bytes: the most bytes of a file.
    :param threads: run calls that may block.
    :param budget: the memory that all uploads share.
    :ivar changes: changes names.
    """

    writes: FileWrites
    max_file_bytes: int
    threads: Threads
    budget: MemoryBudget = field(default_factory=sink_budget)
    changes: Changes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        changes = Changes(self.writes.targets, self.writes.publisher)
        object.__setattr__(self, "changes", changes)


async def put_file(context: WriteContext, request: Request) -> JSONResponse:
    """
    Check the request, then store the body while it arrives.

    :return: the response, with the version that was written.
    """
    # A platform that closes its side of the connection has given up (see `ingest`).
    request.ends_with_client = request.via_proxy = request.requestHeaders.hasHeader(b"via")
    asked = _asked(context, request)
    # Never refused once it has begun: it waits for one call at a time.
    run = partial(context.threads.run, owner=asked.path.root, refusable=False)

    def give_up(late: FileWrite) -> None:
        run(late.close).addErrback(lambda _: None)

    beginning = partial(context.writes.begin, asked)
    write = await context.threads.run(beginning, owner=asked.path.root, discard=give_up)
    feeder: SinkFeeder[Written] = SinkFeeder(
        request.body, write, run, context.budget, request.is_awaited
    )
    request.body.deliver(feeder)
    written = await feeder.done
    request.touched = {**request.touched, "size": written.published.facts.size}
    return _written(asked.path, written)


def _asked(context: WriteContext, request: Request) -> AskedWrite:
    query, fields = parse_query(request.query), request.requestHeaders
    request.touched = touched_path(query)
    path = path_of(query)
    context.writes.targets.require_file(path)
    options = write_options(query)
    check_write_head(fields, request.body.length, context.max_file_bytes)
    conditions, digests = WriteConditions.of(fields), given_digests(fields)
    return AskedWrite(path, options, conditions, digests, context.max_file_bytes)


def _written(path: VirtualPath, written: Written) -> JSONResponse:
    published, ref = written.published, ref_of(path.raw)
    body = {
        "ref": ref,
        "size": published.facts.size,
        "etag": published.etag.decode("ascii"),
        "mtime": format_time(published.facts.mtime_ns),
        "sha256": written.sha256.hex(),
    }
    fields = [(b"ETag", published.etag), (REPR_DIGEST, repr_digest(written.sha256))]
    if published.is_new:
        fields.append((b"Location", f"{FILE}?path={ref}".encode("ascii")))
    return JSONResponse(201 if published.is_new else 200, body, fields)


async def delete_file(context: WriteContext, request: Request) -> JSONResponse:
    """
    Delete what the path names.

    :return: the response, without a body.
    """
    query = parse_query(request.query)
    request.touched = touched_path(query)
    path = path_of(query)
    context.writes.targets.require_below(path)
    directory, conditions = flag(query, "directory"), WriteConditions.of(request.requestHeaders)
    delete = partial(context.changes.delete, path, directory, conditions)
    await context.threads.run(delete, owner=path.root)
    return JSONResponse(204)


async def make_directory(context: WriteContext, request: Request) -> JSONResponse:
    """
    Create a directory.

    :return: the response: 201, or 200 if it exists.
    """
    query = parse_query(request.query)
    request.touched = touched_path(query)
    path = path_of(query)
    context.writes.targets.prefixes.require(path)
    make = partial(context.changes.make_directory, path, flag(query, "parents"))
    is_new = await context.threads.run(make, owner=path.root)
    return JSONResponse(201 if is_new else 200, {"ref": ref_of(path.raw)})


async def move(context: WriteContext, request: Request) -> JSONResponse:
    """
    Rename a file, symlink or directory.

    :return: the response.
    """
    asked = move_body(await read_json(request))
    request.touched = touched_move(asked.origin.raw, asked.destination.raw)
    conditions = WriteConditions.of(request.requestHeaders)
    moving = partial(context.changes.move, asked, conditions)
    await context.threads.run(moving, owner=asked.origin.root)
    return JSONResponse(200, {"ref": ref_of(asked.destination.raw)})
