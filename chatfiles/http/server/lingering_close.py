"""
The end of a connection: decides how long the client has to read its last response.

Closing a socket with unread data resets the connection, which may destroy the response on its way
(RFC 9112, 9.6).  So the server stops sending, discards a limited number of received bytes, and then
closes.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from chatfiles.streams.peer_state import PeerState, peer_state
from chatfiles.streams.stall_timeout import (
    PROXY_STALL_FACTOR,
    acknowledged,
    stall_timeout_for,
    unsent,
)

__all__ = ["LINGER_BYTES", "LINGER_SECONDS", "LastResponse"]

#: Bytes that are still received after the last response, so that the client can read the response.
LINGER_BYTES = 64 * 1024
#: Seconds after the last response in which the client may read it.
LINGER_SECONDS = 2.0


class LastResponse:
    """
    The last complete response on a connection: whether the client still takes it.

    :param transport: of the connection.
    :param idle_timeout: seconds without progress after which a client counts as stalled.
    :ivar factor: a stalled client gets so many times the timeout.
    """

    def __init__(self, transport: Any, idle_timeout: float) -> None:
        self._transport = transport
        self._idle_timeout = idle_timeout
        self.begin(relayed=False)

    def begin(self, *, relayed: bool) -> None:
        """
        A response is complete.

        :param relayed: whether the client is a proxy, which has a stalled client of its own.
        """
        self.factor = PROXY_STALL_FACTOR if relayed else 1
        self._look: _Look | None = None

    def is_awaited(self, waited: float) -> bool:
        """
        :param waited: seconds since the last call.
        :return: whether a part of it is still in the socket, and the client takes bytes, even if
            slowly.
        """
        if self._look is None:
            self._look = _Look(self._transport, self._idle_timeout * self.factor)
        return self._look.is_awaited(waited)


class _Look:
    def __init__(self, transport: Any, timeout: float) -> None:
        self._transport = transport
        self._acknowledged = acknowledged(transport)
        self._stall_timeout = stall_timeout_for(transport, timeout)
        self._taken: Hashable = None
        self._stalled = 0.0

    def is_awaited(self, waited: float) -> bool:
        # After a reset by the client, the bytes in the socket count as unsent for ever.
        if not unsent(self._transport) or peer_state(self._transport) is PeerState.RESET:
            return False
        before, self._taken = self._taken, self._acknowledged()
        self._stalled = 0.0 if before != self._taken else self._stalled + waited
        return self._stalled < self._stall_timeout()
