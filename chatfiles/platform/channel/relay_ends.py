"""
The two ends of a relay: all bytes of one connection go to the other, and none of them is parsed.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from chatfiles.platform.channel.parked import ParkedConnection
from chatfiles.streams.memory_budget import MemoryBudget
from chatfiles.streams.transports import is_plain, read_at_most

__all__ = ["RelayEnd", "relay"]

#: Milliseconds after which a node that acknowledges nothing counts as gone.
_USER_TIMEOUT: Final = 60_000


class RelayEnd(Protocol):
    """
    One end.  When it ends, the other one ends in the same way.

    :param budget: decides how many bytes one read takes.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
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
            read_at_most(self.transport, self._budget.size)
            self._other.transport.write(data)

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
        :param clean: whether what was written is sent before, except over TLS.
        """
        wire: Any = self.transport
        wire.unregisterProducer()
        if clean and is_plain(wire):  # the peer may never confirm the end of TLS
            wire.resumeProducing()  # so that it notices that its peer closes
            wire.loseConnection()
        else:
            wire.abortConnection()


def relay(end: RelayEnd, connection: ParkedConnection, budget: MemoryBudget) -> None:
    """
    Relay between another node and a workspace.

    :param end: has taken over the connection of the node.
    :param connection: an idle connection of the workspace, which is closed at the end.
    :param budget: decides how many bytes one read takes.
    """
    far = RelayEnd(budget)
    connection.lend(far)
    end.link(far)
    far.link(end, connection)


def _notice_loss(transport: Any) -> None:
    with suppress(AttributeError, OSError):  # TLS, and Unix sockets
        transport.setTcpKeepAlive(True)
        handle = transport.getHandle()
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT)
