"""
``POST /internal/chat/uploads/ingest``: store the files of a form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.rules.upload_head import check_upload_head
from chatfiles.runtime.threads import Threads
from chatfiles.streams.body_sink import SinkFeeder, sink_budget
from chatfiles.streams.memory_budget import MemoryBudget
from chatfiles.workspace.inbound_secrets import InboundSecrets
from chatfiles.workspace.uploads.ingestion import Ingestion, IngestLimits, StoredFile
from chatfiles.workspace.uploads.upload_directory import UPLOAD_OWNER, UploadDirectory

__all__ = ["IngestContext", "ingest"]


@dataclass(frozen=True, slots=True)
class IngestContext:
    """
    The context of the route.

    :param directory: stores the files.
    :param limits: the limits of one upload.
    :param secret: the inbound secrets, of which the platform must present one.
    :param threads: run calls that may block.
    :param budget: the memory that all uploads share.
    """

    directory: UploadDirectory
    limits: IngestLimits
    secret: InboundSecrets
    threads: Threads
    budget: MemoryBudget = field(default_factory=sink_budget)


async def ingest(context: IngestContext, request: Request) -> JSONResponse:
    """
    Validate the headers, then store the files of the body while it arrives.

    :return: the response, with one entry for each stored file.
    """
    # A platform sends Via (RFC 9110, 7.6.3).  If it closes its side of the connection, it has
    # stopped, or its own client has disconnected.
    request.ends_with_client = request.via_proxy = request.requestHeaders.hasHeader(b"via")
    length, limit = request.body.length, context.limits.request_bytes
    boundary = check_upload_head(request.requestHeaders, length, limit)
    feeder: SinkFeeder[list[StoredFile]] = SinkFeeder(
        request.body,
        Ingestion(context.directory, context.limits, boundary),
        # Never refused: an upload waits for only one call at a time, and must not stay half done.
        partial(context.threads.run, owner=UPLOAD_OWNER, refusable=False),
        context.budget,
        request.is_awaited,
    )
    request.body.deliver(feeder)
    stored = await feeder.done
    request.touched = _touched(stored)
    return JSONResponse(200, {"files": [file.view() for file in stored]})


def _touched(stored: Sequence[StoredFile]) -> Mapping[str, Any]:
    """:return: the files that were stored, as fields of the audit log."""
    files = [
        {"ref": file.uri.removeprefix("workspace:"), "size": file.size, "sha256": file.sha256}
        for file in stored
    ]
    return files[0] if len(files) == 1 else {"files": files}
