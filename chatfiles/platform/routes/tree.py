"""
The platform's resource tree.
"""

from __future__ import annotations

from uuid import UUID

from twisted.web.resource import Resource

from chatfiles.http.server.endpoint import Branch, Endpoint, JSONResponse, NoRoute
from chatfiles.http.server.probes import Health, Ready
from chatfiles.http.server.request import Request
from chatfiles.model import parse_workspace_id
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.platform.routes.download import Download
from chatfiles.platform.routes.registration import Heartbeat, Register
from chatfiles.platform.routes.tokens import TokenCollection, TokenItem
from chatfiles.platform.routes.upload import Upload
from chatfiles.platform.routes.workspaces import WorkspaceCollection, WorkspaceItem

__all__ = ["platform_tree"]


class Workspaces(WorkspaceCollection):
    """``/workspaces`` and what is below."""

    def getChild(self, path: bytes, request: Request) -> Resource:
        """The workspace whose id is *path*."""
        if not path:
            return NoRoute()
        return OneWorkspace(self._context, _uuid(path))


class OneWorkspace(WorkspaceItem):
    """``/workspaces/{id}`` and what is below."""

    def getChild(self, path: bytes, request: Request) -> Resource:
        """One of its parts."""
        context, workspace_id = self._context, self._workspace_id
        if path == b"chat":
            return Chat(context, workspace_id)
        if path == b"tokens":
            return Tokens(context, workspace_id)
        return NoRoute()


class Chat(Branch):
    """``/workspaces/{id}/chat`` and what is below."""

    def __init__(self, context: PlatformContext, workspace_id: UUID | None) -> None:
        super().__init__()
        self._context = context
        self._workspace_id = workspace_id

    def getChild(self, path: bytes, request: Request) -> Resource:
        """What carries files."""
        if path == b"download":
            return Download(self._context, self._workspace_id)
        if path == b"uploads":
            return Upload(self._context, self._workspace_id)
        return NoRoute()


class Tokens(TokenCollection):
    """``/workspaces/{id}/tokens`` and what is below."""

    def getChild(self, path: bytes, request: Request) -> Resource:
        """The token whose id is *path*."""
        if not path:
            return NoRoute()
        return TokenItem(self._context, self._workspace_id, _uuid(path))


class Limits(Endpoint):
    """``GET /uploads/limits`` (CONTRACT 4)."""

    def __init__(self, context: PlatformContext) -> None:
        super().__init__()
        self._limits = context.limits

    async def render_GET(self, request: Request) -> JSONResponse:
        """What an upload may hold."""
        limits = self._limits
        return JSONResponse(
            200,
            {
                "per_file_bytes": limits.per_file_bytes,
                "per_request_bytes": limits.per_request_bytes,
                "max_files_per_request": limits.max_files_per_request,
                "max_attachments_per_message": limits.max_attachments_per_message,
            },
        )


def _uuid(segment: bytes) -> UUID | None:
    return parse_workspace_id(segment.decode("ascii", "replace"))


def platform_tree(context: PlatformContext) -> Resource:
    """:return: the resource tree of a platform."""
    root, registry, uploads = Branch(), Branch(), Branch()
    root.putChild(b"health", Health("platform"))
    root.putChild(b"ready", Ready("platform", context.registry.check))
    root.putChild(b"workspaces", Workspaces(context))
    root.putChild(b"registry", registry)
    registry.putChild(b"register", Register(context))
    registry.putChild(b"heartbeat", Heartbeat(context))
    root.putChild(b"uploads", uploads)
    uploads.putChild(b"limits", Limits(context))
    return root
