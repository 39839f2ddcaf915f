"""
A connection that a workspace has made to the platform, and that is parked until it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol as Interface
from uuid import UUID

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from chatfiles.platform.upstream.channels import CHANNEL
from chatfiles.platform.upstream.connection import Event, Keeper, WorkspaceConnection
from chatfiles.streams.memory_budget import MemoryBudget
from chatfiles.streams.transports import hand_over, is_plain

__all__ = ["Holder", "ParkedConnection"]


class Holder(Keeper, Interface):
    """Holds parked connections."""

    def parked(self, connection: ParkedConnection, /) -> object:
        """The workspace has made a connection."""


class ParkedConnection(WorkspaceConnection):
    """
    One connection of a workspace.  After the upgrade it is like one that the platform has made,
    with idle, sending, waiting and body as its states.

    :param holder: holds it while it is idle.
    :param budget: see `WorkspaceConnection`.
    :param workspace_id: the workspace.
    :param token_id: the token with which it was made.
    :param source: the address of its peer.
    :param now: the current time, on the reactor's clock.
    :ivar born: when it was made.
    :ivar answered_at: when the workspace last responded on it.
    :ivar retired: whether it is closed when its response is complete.
    :ivar checking: whether it is being asked if its workspace is alive.
    :ivar claim: called with the connection when its response is complete, before others are offered
        it; returns whether it is taken.
    """

    via = CHANNEL

    def __init__(
        self,
        holder: Holder,
        budget: MemoryBudget,
        workspace_id: UUID,
        token_id: UUID,
        source: str,
        now: float,
    ) -> None:
        super().__init__(holder, budget, workspace_id, plain=False)
        self.workspace_id = workspace_id
        self.token_id = token_id
        self.source = source
        self.born = self.answered_at = now
        self.retired = self.checking = False
        self.claim: Callable[[ParkedConnection], bool] | None = None
        self._holder = holder

    def connectionMade(self) -> None:
        """The upgrade is complete."""
        self._plain = is_plain(self.transport)
        super().connectionMade()
        self._holder.parked(self)

    def lend(self, protocol: Protocol) -> None:
        """
        Let another protocol use the transport.  It must call `connectionLost` when that is closed.
        """
        self._move(Event.REQUEST)
        hand_over(self._wire, protocol)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is closed."""
        self.claim = None
        super().connectionLost(reason)
