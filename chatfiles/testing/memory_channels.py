"""
Nodes and the workspaces that connect to them in memory, for `chatfiles.testing.memory_registry`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from twisted.internet.defer import Deferred

from chatfiles.model import ChannelPlace, ChannelPlaces, Workspace
from chatfiles.platform.registry.interface import NODE_ALIVE
from chatfiles.platform.registry.rows import utc
from chatfiles.testing.memory_link_keys import MemoryLinkKeys

__all__ = ["MemoryChannels"]

T = TypeVar("T")


class MemoryChannels(MemoryLinkKeys):
    """
    The methods of `chatfiles.platform.registry.interface.IWorkspaceRegistry` about nodes.  A
    subclass implements `_live` and `_store`.
    """

    def __init__(self, now: Callable[[], datetime], notify: Callable[[UUID | None], None]) -> None:
        super().__init__(now, notify)
        self._nodes: dict[UUID, tuple[str | None, datetime]] = {}
        self._channels: dict[tuple[UUID, UUID], datetime] = {}

    def enter_node(self, node_id: UUID, url: str | None) -> Deferred[None]:
        """See `IWorkspaceRegistry`."""

        def change() -> None:
            self._nodes[node_id] = url, self._now()
            self._disconnect(node_id)

        return self._respond("enter_node", change)

    def touch_node(self, node_id: UUID, url: str | None) -> Deferred[int]:
        """See `IWorkspaceRegistry`."""

        def change() -> int:
            self._nodes[node_id] = url, self._now()
            alive = timedelta(seconds=NODE_ALIVE)
            for other, (_, seen_at) in list(self._nodes.items()):
                if self._now() - seen_at > timedelta(days=1):
                    del self._nodes[other]
            return sum(
                self._now() - seen_at < alive
                for other, (_, seen_at) in self._nodes.items()
                if other != node_id
            )

        return self._respond("touch_node", change)

    def leave_node(self, node_id: UUID) -> Deferred[None]:
        """See `IWorkspaceRegistry`."""

        def change() -> None:
            self._nodes.pop(node_id, None)
            self._disconnect(node_id)

        return self._respond("leave_node", change)

    def open_channel(self, workspace_id: UUID, node_id: UUID) -> Deferred[bool]:
        """See `IWorkspaceRegistry`."""

        def change() -> bool:
            found = self._live(workspace_id)
            if found is None:
                return False
            self._channels.setdefault((workspace_id, node_id), self._now())
            self._store(replace(found, channel_seen_at=utc(self._now())))
            return True

        return self._respond("open_channel", change)

    def close_channel(self, workspace_id: UUID, node_id: UUID) -> Deferred[None]:
        """See `IWorkspaceRegistry`."""

        def change() -> None:
            self._channels.pop((workspace_id, node_id), None)
            found = self._live(workspace_id)
            if found is not None:
                self._store(replace(found, channel_seen_at=utc(self._now())))

        return self._respond("close_channel", change)

    def connected_workspaces(self) -> Deferred[frozenset[UUID]]:
        """See `IWorkspaceRegistry`."""
        return self._respond(
            "connected_workspaces",
            lambda: frozenset(
                workspace_id
                for workspace_id, node in self._channels
                if node in self._nodes and self._age(self._nodes[node][1]) < NODE_ALIVE
            ),
        )

    def channel_places(self, workspace_id: UUID) -> Deferred[ChannelPlaces]:
        """See `IWorkspaceRegistry`."""
        return self._respond("channel_places", lambda: self._places(workspace_id))

    def fresh_channel_places(self, workspace_id: UUID) -> Deferred[ChannelPlaces]:
        """See `IWorkspaceRegistry`."""
        return self._respond("fresh_channel_places", lambda: self._places(workspace_id))

    def _places(self, workspace_id: UUID) -> ChannelPlaces:
        found = self._live(workspace_id)
        if found is None:
            return ChannelPlaces()
        rows = [(since, node) for (each, node), since in self._channels.items() if each == found.id]
        nodes = [
            ChannelPlace(node, self._nodes[node][0], self._age(self._nodes[node][1]))
            for _, node in sorted(rows, reverse=True)
            if node in self._nodes
        ]
        seen_at = found.channel_seen_at
        return ChannelPlaces(tuple(nodes), seen_at, None if seen_at is None else self._age(seen_at))

    def _age(self, moment: datetime) -> float:
        return (self._now() - moment).total_seconds()

    def _disconnect(self, node_id: UUID) -> None:
        kept = {key: since for key, since in self._channels.items() if key[1] != node_id}
        if len(kept) < len(self._channels):
            self._channels = kept
            self._notify(None)

    def _live(self, workspace_id: UUID) -> Workspace | None:
        """:return: the row of a workspace, unless it is removed."""
        raise NotImplementedError

    def _store(self, workspace: Workspace) -> Workspace:
        """Store a row, and notify."""
        raise NotImplementedError
