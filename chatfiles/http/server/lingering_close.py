"""
The end of a connection: how long its last response is waited for.

Closing a socket with unread data resets the connection, and may destroy the response on its way
(RFC 9112, 9.6).  So we stop sending, discard a bounded amount of what still comes, then close.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from chatfiles.streams.peer_state import PeerState, peer_state
from chatfiles.streams.stall_timeout import acknowledged, stall_timeout_for, unsent

__all__ = ["LINGER_BYTES", "LINGER_SECONDS", "LastResponse"]

#: Bytes that a client may still send after the last response, so that it reads that response.
LINGER_BYTES = 64 * 1024
#: Seconds that the client has for it.
LINGER_SECONDS = 2.0


class LastResponse:
    """
    A complete response, while no other request is being served.

    :param transport: its connection.
    :param timeout: seconds without progress after which its reader is gone.
    """

    def __init__(self, transport: Any, timeout: float) -> None:
        self._transport = transport
        self._acknowledged = acknowledged(transport)
        self._stall_timeout = stall_timeout_for(transport, timeout)
        self._taken: Hashable = None
        self._stalled = 0.0

    def is_awaited(self, waited: float) -> bool:
        """
        :param waited: seconds since the last call.
        :return: whether some of it is still on its way, and the client takes it, however slowly.
        """
        # What was on its way to a client that reset the connection counts as unsent for ever.
        if not unsent(self._transport) or peer_state(self._transport) is PeerState.RESET:
            return False
        before, self._taken = self._taken, self._acknowledged()
        self._stalled = 0.0 if before != self._taken else self._stalled + waited
        return self._stalled < self._stall_timeout()
