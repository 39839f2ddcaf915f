"""
How many of the bytes that were written to a connection its peer has taken.
"""

from __future__ import annotations

import socket
from typing import Any, NamedTuple

from chatfiles.streams.stall_timeout import bytes_acknowledged, bytes_unacknowledged, socket_of
from chatfiles.streams.transports import buffered

__all__ = ["Delivery", "DeliveryMeter"]


class Delivery(NamedTuple):
    """
    The state of a connection.

    :param taken: bytes that the peer has acknowledged since the connection was made; ``None`` if
        the socket does not count them.
    :param pending: bytes that were written and that the peer has not acknowledged.
    """

    taken: int | None
    pending: int


class DeliveryMeter:
    """
    Tells the state of one connection.

    :param transport: a connection of Twisted, TLS or not.
    """

    __slots__ = ("_buffered", "_last", "_socket")

    def __init__(self, transport: Any) -> None:
        self._buffered = buffered(transport)
        self._socket: socket.socket | None = socket_of(transport)
        self._last: Delivery | None = None

    def record(self) -> None:
        """Remember the state: the connection was lost, and its socket is about to be closed."""
        if self._last is None:
            self._last = self.state

    @property
    def is_lost(self) -> bool:
        """Whether the connection was lost or reset."""
        return self._last is not None

    @property
    def pending(self) -> int:
        """See `Delivery`; 0 if the connection was closed after everything had been sent."""
        if self._last is not None:
            return self._last.pending
        handle = self._socket
        if handle is None or handle.fileno() < 0:
            return 0
        return bytes_unacknowledged(handle) + self._buffered()

    @property
    def taken(self) -> int | None:
        """See `Delivery`; ``None`` also if the connection is closed."""
        if self._last is not None:
            return self._last.taken
        handle = self._socket
        if handle is None or handle.fileno() < 0:
            return None
        return bytes_acknowledged(handle)

    @property
    def is_closed(self) -> bool:
        """Whether the connection was closed after everything had been sent."""
        return self._last is None and (self._socket is None or self._socket.fileno() < 0)

    @property
    def state(self) -> Delivery:
        """The state."""
        return Delivery(self.taken, self.pending)
