"""
Where a request is forwarded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from chatfiles.rules.urls import WorkspaceURL

__all__ = ["WorkspaceAddress"]


@dataclass(frozen=True, slots=True)
class WorkspaceAddress:
    """
    The address of a workspace.

    :param url: a valid URL; its address is validated again at every connection.
    :param secret: the inbound secret that the workspace accepts.
    """

    workspace_id: UUID
    url: WorkspaceURL
    secret: str = field(repr=False)
