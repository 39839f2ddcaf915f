"""
Detects clients that disconnect while the server does not read from them.

A reactor does not watch a socket that it does not read.  It would notice a disconnected client only
when the rest of the body is read, or never.  So the state of the socket is polled.

If the server's receive buffer is full, the FIN comes after the bytes that wait in the client's
kernel.  Until these have been read, a disconnected client looks like one that waits.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

from chatfiles.http.server.request_body import RequestBody
from chatfiles.streams.peer_state import PeerState, peer_state, unread
from chatfiles.streams.stall_timeout import acknowledged
from chatfiles.streams.transports import is_plain

__all__ = ["CHECK_INTERVAL", "DisconnectCheck"]

#: Seconds between two polls.
CHECK_INTERVAL = 0.25


class Awaited(Protocol):
    """The part of a request that is needed here."""

    @property
    def body(self) -> RequestBody:
        """Its body."""

    @property
    def ends_with_client(self) -> bool:
        """Whether it is cancelled when its client sends a FIN."""


class DisconnectCheck:
    """
    Polls the socket of a connection whose request is being served.

    :param transport: of the connection.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._taken: Hashable = None

    def has_left(self, request: Awaited, *, after_fin: bool) -> bool:
        """
        :param request: the request that is being served.
        :param after_fin: whether the reactor has read the client's FIN.
        :return: whether the client no longer waits for the response.
        """
        match peer_state(self._transport):
            case PeerState.RESET:
                return True
            case PeerState.HALF_CLOSED:
                useless = request.ends_with_client or not self._may_be_complete(request.body)
                return useless and not (after_fin and self._reads_on())
        return False

    def _reads_on(self) -> bool:
        """
        :return: whether the client has taken bytes since the last call.  At the first call this is
            unknown, and the result is true.
        """
        before, self._taken = self._taken, acknowledged(self._transport)()
        return before != self._taken

    def _may_be_complete(self, body: RequestBody) -> bool:
        """:return: whether the body may be complete with the unread bytes in the kernel."""
        if body.complete:
            return True
        if not is_plain(self._transport):
            return False  # TLS has no half-close: the FIN ends the connection
        # The length of a chunked body is unknown until it has been read.
        return body.length is None or unread(self._transport) >= body.length - body.seen
