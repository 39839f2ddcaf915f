"""
Asks a workspace on a parked connection whether it is alive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from chatfiles.platform.channel.parked_connection import ParkedConnection
from chatfiles.platform.upstream.request import UpstreamRequest
from chatfiles.platform.upstream.response import COMPLETE, UpstreamResponse
from chatfiles.rules.channel_upgrade import HOST
from chatfiles.streams.equal_timeouts import EqualTimeouts, Timeout

__all__ = ["HealthCheck"]

_LINES: Final = b"Host: %b\r\n" % HOST
#: Bytes of a body that are read at most.
_MOST: Final = 16 * 1024


class HealthCheck(Protocol):
    """
    One ``GET /health`` on a connection.  A complete response of any status tells that the workspace
    is alive; the connection then returns to its holder by itself.

    :param connection: it must be idle, and must not be in the holder.
    :param timeouts: starts the timeout, after which the connection is closed.
    :param failed: called if there is no complete response, or the connection ends with it.
    """

    def __init__(
        self,
        connection: ParkedConnection,
        timeouts: EqualTimeouts,
        failed: Callable[[], object] = lambda: None,
    ) -> None:
        self._connection = connection
        self._timeouts = timeouts
        self._timeout: Timeout | None = None
        self._failed = failed
        self._received = 0

    def start(self) -> None:
        """Send the request."""
        self._connection.checking = True
        self._timeout = self._timeouts.start(self._late)
        request = UpstreamRequest(b"GET", b"/health", _LINES, uri=b"ptth:/health")
        self._connection.request(request, self)

    # -- for the connection (Receiver)

    def sent(self, connection: Any) -> None:
        """The request was sent."""

    def answered(self, connection: Any, response: UpstreamResponse) -> None:
        """Read the body, which is short."""
        if response.whole is not None:
            self._end(alive=True)
        else:
            response.deliverBody(self)

    def failed(self, connection: Any, failure: Failure) -> None:
        """There is no response, or a malformed one."""
        self._end(alive=False)

    # -- for the response

    def dataReceived(self, data: bytes) -> None:
        """Count the body."""
        self._received += len(data)
        if self._received > _MOST:
            self._connection.stopProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The body has ended."""
        self._end(alive=reason is COMPLETE)

    def _late(self) -> None:
        # The connection reports the end of the request, or of the body.
        self._connection.give_up()

    def _end(self, *, alive: bool) -> None:
        if self._timeout is not None:
            self._timeout.stop()
            self._timeout = None
            if not (alive and self._connection.usable):  # it may have said that it closes
                self._failed()
