"""
A connection of a workspace that has connected by itself: to this node, or to another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from chatfiles.platform.upstream.connection import Keeper, WorkspaceConnection
from chatfiles.streams.memory_budget import MemoryBudget
from chatfiles.streams.transports import is_plain

__all__ = ["ChannelConnection"]


class ChannelConnection(WorkspaceConnection):
    """
    One connection of a workspace.  It is like one that the platform has made, with idle, sending,
    waiting and body as its states.

    :param holder: holds it while it is idle.
    :param budget: see `WorkspaceConnection`.
    :param workspace_id: the workspace.
    :param now: the current time, on the reactor's clock.
    :ivar born: when it was made.
    :ivar answered_at: when the workspace last responded on it.
    :ivar retired: whether it is closed when its response is complete.
    :ivar claim: called with the connection when its response is complete, before others are offered
        it; returns whether it is taken.
    """

    def __init__(
        self, holder: Keeper, budget: MemoryBudget, workspace_id: UUID, now: float
    ) -> None:
        super().__init__(holder, budget, workspace_id, plain=False)
        self.workspace_id = workspace_id
        self.born = self.answered_at = now
        self.retired = False
        self.claim: Callable[[Any], bool] | None = None

    def connectionMade(self) -> None:
        """The upgrade is complete."""
        self._plain = is_plain(self.transport)
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is closed."""
        self.claim = None
        super().connectionLost(reason)
