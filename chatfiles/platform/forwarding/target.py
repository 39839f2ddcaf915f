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
    A workspace that can be called.

    :param url: where it is, well-formed; the address is judged again when it is dialled.
    :param secret: what opens it.
    """

    workspace_id: UUID
    url: WorkspaceURL
    secret: str = field(repr=False)
