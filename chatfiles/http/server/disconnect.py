"""
Clients that disconnect while nothing is read from them.

A reactor does not watch a socket that it does not read from.  That its client has left would be
noticed when the rest of the body is read, or never.  So the socket is looked at.

What the client's own kernel still holds, because ours takes no more, comes before its FIN: until
that has been read, nothing tells a client that has left from one that waits.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from chatfiles.http.server.request_body import RequestBody
from chatfiles.streams.peer_state import PeerState, peer_state, unread
from chatfiles.streams.stall_timeout import acknowledged
from chatfiles.streams.transports import is_plain

__all__ = ["LOOK", "DisconnectCheck"]

#: Seconds between two looks.
LOOK = 0.25


class DisconnectCheck:
    """
    Looks at the socket of a connection whose request is being served.

    :param transport: of the connection.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._taken: Hashable = None

    def has_left(self, body: RequestBody, *, ends_with_client: bool, after_fin: bool) -> bool:
        """
        :param body: of the request.
        :param ends_with_client: the request is cancelled when its client sends no more.
        :param after_fin: the FIN of the client has been read, rather than seen in the socket.
        :return: whether nobody waits for the response any more.
        """
        match peer_state(self._transport):
            case PeerState.RESET:
                return True
            case PeerState.HALF_CLOSED:
                useless = ends_with_client or not self._may_be_complete(body)
                return useless and not (after_fin and self._reads_on())
        return False

    def _reads_on(self) -> bool:
        """
        :return: whether the client has taken bytes since this was last asked.  The first time that
            is not known, and it counts as present.
        """
        before, self._taken = self._taken, acknowledged(self._transport)()
        return before != self._taken

    def _may_be_complete(self, body: RequestBody) -> bool:
        """:return: whether what the kernel holds may complete the body of a client that ended."""
        if body.complete:
            return True
        if not is_plain(self._transport):
            return False  # TLS has no half-close: the end is that of the connection
        # A chunked body does not tell how long it is: it is read first.
        return body.length is None or unread(self._transport) >= body.length - body.seen
