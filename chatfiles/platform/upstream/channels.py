"""
What the agent needs of workspaces that connect to the platform by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol
from uuid import UUID

from twisted.internet.defer import Deferred

from chatfiles.platform.upstream.connection import WorkspaceConnection
from chatfiles.rules.urls import WorkspaceURL

__all__ = ["CHANNEL", "RELAY", "ChannelSource", "ChannelURL", "WorkspacePlace"]


#: How a workspace is reached, for the logs: over a connection that it has made, to this node or to
#: another one.
CHANNEL, RELAY = "channel", "relay"


@dataclass(frozen=True, slots=True)
class ChannelURL:
    """
    The place of a workspace that has connected to the platform: it has no address.  It has what the
    gateway needs of a `WorkspaceURL`.
    """

    workspace_id: UUID
    scheme: ClassVar[str] = "ptth"

    @property
    def origin(self) -> bytes:
        """The first part of all its URLs; no other place has the same."""
        return b"ptth://%b" % self.workspace_id.hex.encode("ascii")

    def join(self, path: bytes) -> bytes:
        """
        :param path: begins with a slash; it may have a query.
        :return: the URL of *path*.
        """
        return self.origin + path

    @classmethod
    def parse(cls, origin: bytes) -> ChannelURL | None:
        """:return: the place with this `origin`; ``None`` if it is of another kind."""
        scheme, _, name = origin.partition(b"://")
        return cls(UUID(name.decode("ascii"))) if scheme == cls.scheme.encode("ascii") else None


#: Where a workspace is: at an address, or connected to the platform.
WorkspacePlace = WorkspaceURL | ChannelURL


class ChannelSource(Protocol):
    """Has the connections that workspaces have made."""

    def take(self, workspace_id: UUID, /) -> WorkspaceConnection | None:
        """:return: an idle connection of this node, which may have died since its last response."""

    def connect(self, workspace_id: UUID, within: float, /) -> Deferred[WorkspaceConnection]:
        """
        :param within: seconds within which the workspace must have responded on the connection; if
            it has not, it is asked first.
        :return: a connection, of this node or through another one.  Fails with a
            `chatfiles.errors.ChatfilesError` for the client.
        """
