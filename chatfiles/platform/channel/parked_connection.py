"""
A connection that a workspace has made to the platform, and that is parked until it is needed.
"""

from __future__ import annotations

from typing import Protocol as Interface
from uuid import UUID

from twisted.internet.protocol import Protocol

from chatfiles.platform.channel.connection import ChannelConnection
from chatfiles.platform.upstream.channels import CHANNEL
from chatfiles.platform.upstream.connection import Event, Keeper
from chatfiles.streams.memory_budget import MemoryBudget
from chatfiles.streams.transports import hand_over

__all__ = ["Holder", "ParkedConnection"]


class Holder(Keeper, Interface):
    """Holds parked connections."""

    def parked(self, connection: ParkedConnection, /) -> object:
        """The workspace has made a connection."""


class ParkedConnection(ChannelConnection):
    """
    A connection that a workspace has made to this node.

    :param holder: holds it while it is idle.
    :param budget: see `WorkspaceConnection`.
    :param workspace_id: the workspace.
    :param token_id: the token with which it was made.
    :param source: the address of its peer.
    :param now: the current time, on the reactor's clock.
    :ivar checking: whether it is being asked if its workspace is alive.
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
        super().__init__(holder, budget, workspace_id, now)
        self.token_id = token_id
        self.source = source
        self.checking = False
        self._holder = holder

    def connectionMade(self) -> None:
        """The upgrade is complete."""
        super().connectionMade()
        self._holder.parked(self)

    def lend(self, protocol: Protocol) -> None:
        """
        Let another protocol use the transport.  It must call `connectionLost` when that is closed.
        """
        self._move(Event.REQUEST)
        hand_over(self._wire, protocol)
