"""
How many of the bytes that were written to a connection its peer has taken.
"""

from __future__ import annotations

import socket
from typing import Any

from chatfiles.streams.stall_timeout import bytes_unacknowledged, socket_of
from chatfiles.streams.transports import buffered

__all__ = ["DeliveryMeter"]


class DeliveryMeter:
    """
    Tells what the peer of one connection has taken.

    :param transport: a connection of Twisted, TLS or not.
    :ivar written: the number of bytes that were written to the connection.  Its owner counts them.
    """

    __slots__ = ("_at_loss", "_buffered", "_socket", "written")

    def __init__(self, transport: Any) -> None:
        self.written = 0
        self._buffered = buffered(transport)
        self._socket: socket.socket | None = socket_of(transport)
        self._at_loss: int | None = None

    def record(self) -> None:
        """Remember what was taken: the connection is lost, and its socket is about to be closed."""
        if self._at_loss is None:
            self._at_loss = self.taken

    @property
    def is_open(self) -> bool:
        """Whether the peer may still take bytes."""
        return self._at_loss is None and self._socket is not None and self._socket.fileno() >= 0

    @property
    def taken(self) -> int:
        """
        The number of written bytes that the peer has acknowledged, or read if this is a Unix
        socket.  Of a connection that was closed without a loss: those that the kernel has taken.
        """
        if self._at_loss is not None:
            return self._at_loss
        pending = self._buffered()
        if self.is_open and self._socket is not None:
            pending += bytes_unacknowledged(self._socket)
        return max(0, self.written - pending)
