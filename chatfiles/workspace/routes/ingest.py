"""
``POST /internal/chat/uploads/ingest``: store the files of a form.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from chatfiles.http.server.endpoint import JSONResponse
from chatfiles.http.server.request import Request
from chatfiles.rules.upload_head import check_upload_head
from chatfiles.runtime.threads import Threads
from chatfiles.streams.body_sink import SinkFeeder
from chatfiles.workspace.secret_file import SecretFile
from chatfiles.workspace.uploads.directory import UPLOAD_OWNER, UploadDirectory
from chatfiles.workspace.uploads.ingestion import Ingestion, IngestLimits, StoredFile

__all__ = ["IngestContext", "ingest"]


@dataclass(frozen=True, slots=True)
class IngestContext:
    """
    What the route works with.

    :param directory: where files are stored.
    :param limits: of one upload.
    :param secret: the inbound secret, which the platform has to present.
    :param threads: run calls that may block.
    """

    directory: UploadDirectory
    limits: IngestLimits
    secret: SecretFile
    threads: Threads


async def ingest(context: IngestContext, request: Request) -> JSONResponse:
    """Check the headers, then store the body while it arrives."""
    # A platform says that it is one (RFC 9110, 7.6.3).  If it closes its side of the connection, it
    # has stopped, or has lost its own client.
    request.ends_with_caller = request.via_proxy = request.requestHeaders.hasHeader(b"via")
    length, limit = request.body.length, context.limits.request_bytes
    boundary = check_upload_head(request.requestHeaders, length, limit)
    feeder: SinkFeeder[list[StoredFile]] = SinkFeeder(
        request.body,
        Ingestion(context.directory, context.limits, boundary),
        # Never refused: each waits for one call at a time, and no upload may be left half done.
        partial(context.threads.run, owner=UPLOAD_OWNER, refusable=False),
        request.is_awaited,
    )
    request.body.deliver(feeder)
    stored = await feeder.done
    return JSONResponse(200, {"files": [file.view() for file in stored]})
