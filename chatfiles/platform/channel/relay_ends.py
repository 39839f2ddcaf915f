"""
The two ends of a relay: all bytes of one connection go to the other, and none of them is parsed.
"""

from __future__ import annotations

import socket
from typing import Any, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from chatfiles.platform.channel.parked_connection import ParkedConnection
from chatfiles.streams.bulk_splice import BulkMover
from chatfiles.streams.memory_budget import MemoryBudget
from chatfiles.streams.stall_timeout import socket_of
from chatfiles.streams.transports import close_when_sent, read_at_most, send_now

__all__ = ["RelayEnd", "relay"]

#: Milliseconds after which a node that acknowledges nothing counts as gone.
_USER_TIMEOUT: Final = 60_000
#: Bytes of one read that belong to a large body.
_BULK: Final = 32 * 1024


class RelayEnd(Protocol):
    """
    One end.  When it ends, the other one ends in the same way.

    :param budget: decides how many bytes one read takes.
    :param mover: moves large bodies.
    """

    def __init__(self, budget: MemoryBudget, mover: BulkMover) -> None:
        self._budget = budget
        self._mover = mover
        self._other: RelayEnd | None = None
        self._lent: ParkedConnection | None = None

    def connectionMade(self) -> None:
        """The connection is taken over."""
        self._budget.change(1)
        _notice_loss(self.transport)

    def link(self, other: RelayEnd, lent: ParkedConnection | None = None) -> None:
        """
        :param other: the other end.
        :param lent: is notified when this end ends.
        """
        self._other, self._lent = other, lent
        wire: Any = other.transport
        wire.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        """Pass bytes on."""
        if self._other is not None and self._other.transport is not None:
            send_now(self._other.transport, data)
            if len(data) >= _BULK:
                self._pass_bulk(self._other.transport)

    def _pass_bulk(self, target: Any) -> None:
        """Pass on what has arrived of a large body."""
        if self._mover.works(self.transport, target):
            read_at_most(self.transport, _BULK)  # it only has to notice that there is more
            self._mover.move(self.transport, target)
        else:
            read_at_most(self.transport, self._budget.size)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End the other end: cleanly, when it has sent everything, or at once."""
        self._budget.change(-1)
        other, self._other = self._other, None
        lent, self._lent = self._lent, None
        if other is not None:
            other.end(clean=reason.check(ConnectionDone) is not None)
        if lent is not None:
            lent.connectionLost(reason)

    def end(self, *, clean: bool) -> None:
        """
        :param clean: whether what was written is sent before.
        """
        self._other = None
        wire: Any = self.transport
        wire.unregisterProducer()
        if clean:
            close_when_sent(wire)
        else:
            wire.abortConnection()


def relay(end: RelayEnd, far: RelayEnd, connection: ParkedConnection) -> None:
    """
    Relay between another node and a workspace.

    :param end: has taken over the connection of the node.
    :param far: takes over the connection of the workspace.
    :param connection: that connection, which is idle, and is closed at the end.
    """
    connection.lend(far)
    end.link(far)
    far.link(end, connection)


def _notice_loss(transport: Any) -> None:
    handle = socket_of(transport)
    if handle is not None and handle.family in (socket.AF_INET, socket.AF_INET6):
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT)
