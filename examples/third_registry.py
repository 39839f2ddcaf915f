"""A registry of one's own: it has another one, and keeps a list of what was removed."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from twisted.python.components import proxyForInterface

from chatfiles.platform.registry.interface import IWorkspaceRegistry

_Delegating: Any = proxyForInterface(IWorkspaceRegistry)


class ListingRegistry(_Delegating):  # type: ignore[misc]
    """
    Passes every call on to another registry.

    :param original: the other registry.
    :ivar removed: the ids of the workspaces that were removed, in order.
    """

    def __init__(self, original: Any) -> None:
        super().__init__(original)
        self.removed: list[UUID] = []

    async def remove_workspace(self, workspace_id: UUID) -> bool:
        """See `IWorkspaceRegistry.remove_workspace`."""
        removed: bool = await self.original.remove_workspace(workspace_id)
        if removed:
            self.removed.append(workspace_id)
        return removed
