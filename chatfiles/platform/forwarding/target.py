"""
Where a request is forwarded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from chatfiles.platform.upstream.channels import CHANNEL, ChannelURL, WorkspacePlace
from chatfiles.platform.upstream.connection import DIAL

__all__ = ["WorkspaceAddress"]


@dataclass(frozen=True, slots=True)
class WorkspaceAddress:
    """
    The address of a workspace.

    :param url: a valid URL, whose address is validated again at every connection; or the place of a
        workspace that has connected to the platform.
    :param secret: the inbound secret that the workspace accepts.
    """

    workspace_id: UUID
    url: WorkspacePlace
    secret: str = field(repr=False)

    @property
    def via(self) -> str:
        """How it is reached, for the logs; the response says it more exactly."""
        return CHANNEL if isinstance(self.url, ChannelURL) else DIAL
