"""
The workspace's resource tree.
"""

from __future__ import annotations

from twisted.internet import defer
from twisted.web.resource import Resource

from chatfiles.errors import Unavailable
from chatfiles.http.server.endpoint import Branch
from chatfiles.http.server.probes import Health, Ready
from chatfiles.workspace.routes.ingest import Ingest, IngestContext
from chatfiles.workspace.routes.read import FileRead, WorkspaceContext
from chatfiles.workspace.secret_file import SECRET_OWNER

__all__ = ["workspace_tree"]

#: Seconds in which a thread has to have read the inbound secret.
READY_TIMEOUT = 2.0


def workspace_tree(context: WorkspaceContext, ingest: IngestContext) -> Resource:
    """:return: the resource tree of a workspace."""

    async def check() -> None:
        looked = context.threads.run(context.secret.present, owner=SECRET_OWNER)
        looked.addTimeout(READY_TIMEOUT, context.clock)
        try:
            present = await looked
        except defer.TimeoutError:
            raise Unavailable(
                "the file system of the inbound secret does not answer", retry_after=30
            ) from None
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
