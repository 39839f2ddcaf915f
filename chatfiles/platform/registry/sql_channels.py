"""
The methods of the registries in databases about nodes, and about workspaces that connect to them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from twisted.internet.defer import Deferred

from chatfiles.model import ChannelPlaces
from chatfiles.platform.registry import channel_queries as queries
from chatfiles.platform.registry.queries import Change, Session

__all__ = ["SQLChannels"]

T = TypeVar("T")


class SQLChannels:
    """
    A part of `chatfiles.platform.registry.sql_registry.SQLRegistry`.

    :param now: returns the current time, with its time zone.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    def _read(self, what: str, query: Callable[[Session], Awaitable[T]]) -> Deferred[T]:
        """
        Run *query*.  It may be run again on another connection if the first one is lost.

        :param what: the name of the call in the log.
        """
        raise NotImplementedError

    def _change(self, what: str, change: Callable[[Session], Awaitable[Change[T]]]) -> Deferred[T]:
        """
        Run *change* in a transaction, notify the subscribers of the workspaces that it has changed,
        and return its result.

        :param what: the name of the call in the log.
        """
        raise NotImplementedError

    def enter_node(self, node_id: UUID, url: str | None) -> Deferred[None]:
        """See `IWorkspaceRegistry`."""
        now = self._now()
        return self._change("enter_node", lambda db: queries.enter_node(db, node_id, url, now))

    def touch_node(self, node_id: UUID, url: str | None) -> Deferred[int]:
        """See `IWorkspaceRegistry`."""
        now = self._now()
        return self._change("touch_node", lambda db: queries.touch_node(db, node_id, url, now))

    def leave_node(self, node_id: UUID) -> Deferred[None]:
        """See `IWorkspaceRegistry`."""
        return self._change("leave_node", lambda db: queries.leave_node(db, node_id))

    def open_channel(self, workspace_id: UUID, node_id: UUID) -> Deferred[bool]:
        """See `IWorkspaceRegistry`."""
        now = self._now()
        return self._change(
            "open_channel", lambda db: queries.open_channel(db, workspace_id, node_id, now)
        )

    def close_channel(self, workspace_id: UUID, node_id: UUID) -> Deferred[None]:
        """See `IWorkspaceRegistry`."""
        now = self._now()
        return self._change(
            "close_channel", lambda db: queries.close_channel(db, workspace_id, node_id, now)
        )

    def connected_workspaces(self) -> Deferred[frozenset[UUID]]:
        """See `IWorkspaceRegistry`."""
        now = self._now()
        return self._read("connected_workspaces", lambda db: queries.connected_workspaces(db, now))

    def channel_places(self, workspace_id: UUID) -> Deferred[ChannelPlaces]:
        """See `IWorkspaceRegistry`."""
        now = self._now()
        return self._read(
            "channel_places", lambda db: queries.channel_places(db, workspace_id, now)
        )

    fresh_channel_places = channel_places
