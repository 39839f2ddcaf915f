"""
``POST /internal/chat/uploads/ingest`` (CONTRACT 7).
"""

from __future__ import annotations

from dataclasses import dataclass

from chatfiles.http.server.endpoint import Endpoint, JSONResponse
from chatfiles.http.server.request import Request
from chatfiles.rules.bearer import bearer
from chatfiles.rules.upload_head import check_upload_head
from chatfiles.runtime.threads import Threads
from chatfiles.streams.body_sink import SinkFeeder
from chatfiles.workspace.secret_file import SecretFile, require_secret
from chatfiles.workspace.uploads.directory import UploadDirectory
from chatfiles.workspace.uploads.ingestion import Ingestion, IngestLimits, StoredFile

__all__ = ["Ingest", "IngestContext"]


@dataclass(frozen=True, slots=True)
class IngestContext:
    """
    What the route works with.

    :param secret: what the platform has to present.
    :param threads: for calls that may block.
    """

    directory: UploadDirectory
    limits: IngestLimits
    secret: SecretFile
    threads: Threads


class Ingest(Endpoint):
    """Stores the files of a form."""

    operation = "ingest"

    def __init__(self, context: IngestContext) -> None:
        super().__init__()
        self._context = context

    async def render_POST(self, request: Request) -> JSONResponse:
        """Judge the head, then take the body as it arrives."""
        context = self._context
        fields = request.requestHeaders
        await context.threads.run(require_secret, context.secret, bearer(fields))
        # A platform says that it is one (RFC 9110, 7.6.3); if it sends no more, it has left, or its
        # own client has.
        request.ends_with_caller = request.via_proxy = fields.hasHeader(b"via")
        boundary = check_upload_head(fields, request.body.length, context.limits.request_bytes)
        feeder: SinkFeeder[list[StoredFile]] = SinkFeeder(
            request.body,
            Ingestion(context.directory, context.limits, boundary),
            context.threads.run,
            request.is_awaited,
        )
        request.body.deliver(feeder)
        stored = await feeder.done
        return JSONResponse(200, {"files": [file.view() for file in stored]})
