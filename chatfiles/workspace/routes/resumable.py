"""
``/internal/uploads``: resumable uploads (tus 1.0.0; reference/resumable).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from chatfiles.errors import ChatfilesError, Conflict
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.http.server.tus import describe_service, prepare_tus, require_tus, write_empty
from chatfiles.rules.conditional_requests import WriteConditions
from chatfiles.rules.digest_fields import REPR_DIGEST, repr_digest
from chatfiles.rules.entry_json import ref_of, shown
from chatfiles.rules.http_dates import format_http_date
from chatfiles.rules.query import parse_query
from chatfiles.rules.resumable_upload import (
    UPLOAD_ID,
    Chunk,
    check_body,
    creation_of,
    patch_of,
)
from chatfiles.rules.touched_paths import touched_path
from chatfiles.rules.upload_metadata import encode_metadata
from chatfiles.rules.virtual_paths import check_form
from chatfiles.runtime.threads import Threads
from chatfiles.streams.body_sink import SinkFeeder, sink_budget
from chatfiles.streams.memory_budget import MemoryBudget
from chatfiles.streams.outcome import Outcome
from chatfiles.workspace.resumable.chunk_writer import ChunkWriter
from chatfiles.workspace.resumable.locks import UploadLock, UploadLocks
from chatfiles.workspace.resumable.open_upload import upload_not_found
from chatfiles.workspace.resumable.upload_record import Record, chat_name, uri_of
from chatfiles.workspace.resumable.uploads import (
    OffsetMismatch,
    ResumableUploads,
    UploadState,
    owner_of,
)
from chatfiles.workspace.uploads.safe_names import safe_name
from chatfiles.workspace.uploads.upload_directory import UPLOAD_OWNER

__all__ = [
    "PATH",
    "UPLOAD_PATH",
    "ResumableContext",
    "append",
    "create",
    "files",
    "options",
    "prepare",
    "remove",
    "state",
]

PATH, UPLOAD_PATH = "/internal/uploads", "/internal/uploads/{upload_id}"
_NOTHING: Final = Chunk(None, None, 0, None)
T = TypeVar("T")
_Fields = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class ResumableContext:
    """
    The context of these routes.

    :param uploads: keeps the uploads.
    :param locks: let one request at a time use an upload.
    :param threads: run calls that may block.
    :param budget: the memory that all uploads share.
    """

    uploads: ResumableUploads
    locks: UploadLocks
    threads: Threads
    budget: MemoryBudget = field(default_factory=sink_budget)


def prepare(request: Request) -> None:
    """If a request is for one of these routes, set the headers that every response has."""
    match request.postpath:
        case [b"internal", b"uploads"] | [b"internal", b"uploads", _]:
            prepare_tus(request)


async def options(context: ResumableContext, request: Request, *_upload_id: str) -> None:
    """Describe what the service can do."""
    describe_service(request, context.uploads.limits.file_bytes)


async def create(context: ResumableContext, request: Request) -> None:
    """Create an upload, and store the body if there is one."""
    fields, declared = request.requestHeaders, request.body.length
    query = parse_query(request.query)
    request.touched, given = touched_path(query), query.get(b"path", [])
    path = check_form(list(given)) if given else None
    require_tus(request)
    creation = creation_of(fields, context.uploads.limits.file_bytes)
    conditions = WriteConditions() if path is None else WriteConditions.of(fields)
    run = partial(context.threads.run, owner=owner_of(path))
    if path is not None:
        await run(context.uploads.check_target, path, conditions)
    chunk = check_body(fields, declared, creation.length)
    made = await run(context.uploads.create, creation, path, conditions)
    request.setHeader(b"Location", f"{PATH}/{made.record.id}".encode("ascii"))
    if chunk is None and creation.length != 0:
        write_empty(request, 201, [(b"Upload-Expires", format_http_date(made.expires))])
        return
    try:
        now = await _append(context, request, made.record.id, chunk or _NOTHING)
    except ChatfilesError:
        request.fields.pop(b"Location", None)  # the client cannot use the upload
        run(context.uploads.remove, made.record.id).addErrback(lambda _: None)
        raise
    write_empty(request, 201, _progress(now))


async def append(context: ResumableContext, request: Request, upload_id: str) -> None:
    """Append the body to an upload."""
    require_tus(request)
    _require_id(upload_id)
    limit = context.uploads.limits.file_bytes
    chunk = patch_of(request.requestHeaders, request.body.length, limit)
    try:
        now = await _append(context, request, upload_id, chunk)
    except OffsetMismatch as error:
        request.setHeader(b"Upload-Offset", b"%d" % error.offset)
        raise
    write_empty(request, 204, _progress(now))


async def _append(
    context: ResumableContext, request: Request, upload_id: str, chunk: Chunk
) -> UploadState:
    # A platform that closes its side of the connection has given up (see `ingest`).
    request.ends_with_client = request.via_proxy = request.requestHeaders.hasHeader(b"via")
    owner, evict = await _owner(context, upload_id), partial(request.abort, Outcome.EVICTED)
    lock = await context.locks.acquire(upload_id, owner, evict, request.is_awaited)
    try:
        begin = partial(context.uploads.begin, upload_id, chunk)
        writer = await lock.run(begin, discard=ChunkWriter.close)
        feeder: SinkFeeder[Record] = SinkFeeder(
            request.body, writer, lock.run, context.budget, request.is_awaited, feeds_rest=True
        )
        request.body.deliver(feeder)
        await feeder.done
        now = await lock.run(context.uploads.state, upload_id)
        request.touched = _touched(now.record)
        return now
    finally:
        lock.release()


async def state(context: ResumableContext, request: Request, upload_id: str) -> None:
    """Say how far an upload has come."""
    require_tus(request)
    found = await _with_lock(
        context, upload_id, partial(context.uploads.state, upload_id, finish=True)
    )
    record, fields = found.record, _progress(found)
    if record.length is None:
        fields.append((b"Upload-Defer-Length", b"1"))
    else:
        fields.append((b"Upload-Length", b"%d" % record.length))
    if record.metadata.values:
        metadata = encode_metadata(record.metadata.values.items())
        fields.append((b"Upload-Metadata", metadata))
    write_empty(request, 200, fields)


async def files(context: ResumableContext, request: Request, upload_id: str) -> JSONResponse:
    """:return: the file of a finished upload."""
    require_tus(request)
    _require_id(upload_id)
    owner = await _owner(context, upload_id)
    found = await context.threads.run(context.uploads.look, upload_id, owner=owner)
    if not found.record.finished:
        request.setHeader(b"Upload-Offset", b"%d" % found.offset)
        raise Conflict(
            "upload is not complete",
            code="upload_incomplete",
            detail={"offset": found.offset, "length": found.record.length},
        )
    return JSONResponse(200, {"files": [_view(found.record)]})


async def remove(context: ResumableContext, request: Request, upload_id: str) -> JSONResponse:
    """Forget an upload."""
    require_tus(request)
    await _with_lock(context, upload_id, partial(context.uploads.remove, upload_id))
    return JSONResponse(204)


async def _with_lock(context: ResumableContext, upload_id: str, call: Callable[[], T]) -> T:
    _require_id(upload_id)
    owner = await _owner(context, upload_id)
    lock: UploadLock = await context.locks.acquire(upload_id, owner)
    try:
        return await lock.run(call)
    finally:
        lock.release()


async def _owner(context: ResumableContext, upload_id: str) -> Hashable:
    return await context.threads.run(context.uploads.owner_of, upload_id, owner=UPLOAD_OWNER)


def _require_id(upload_id: str) -> None:
    if not UPLOAD_ID.fullmatch(upload_id):
        raise upload_not_found()


def _progress(found: UploadState) -> _Fields:
    """:return: the headers that say how far an upload has come, or where the file is."""
    record = found.record
    fields: _Fields = [(b"Upload-Offset", b"%d" % found.offset)]
    if not record.finished:
        fields.append((b"Upload-Expires", format_http_date(found.expires)))
    else:
        fields.append((b"Chatfiles-Uri", uri_of(record).encode("ascii")))
        fields.append((REPR_DIGEST, repr_digest(bytes.fromhex(record.sha256 or ""))))
    return fields


def _touched(record: Record) -> Mapping[str, Any]:
    """:return: what the audit log says of an upload."""
    if not record.finished:
        return {} if record.path is None else {"ref": ref_of(record.path.raw)}
    ref = uri_of(record).removeprefix("workspace:")
    return {"ref": ref, "size": record.length, "sha256": record.sha256}


def _view(record: Record) -> dict[str, object]:
    """:return: the file's entry in the JSON response (reference/uploads, "Response")."""
    given = record.metadata.filename
    name = safe_name(given) if record.path is None else shown(record.path.name)
    stored = chat_name(record).encode("ascii") if record.path is None else record.path.name
    return {
        "uri": uri_of(record),
        "name": name,
        "mimeType": record.metadata.media_type(stored),
        "size": record.length,
        "originalName": given or name,
        "sha256": record.sha256,
    }
