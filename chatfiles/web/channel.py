"""
The server's connection: Twisted's HTTP/1.1 parser with strict framing, a total time for the head,
and refusals that arrive.

This package is the only one that touches private names of twisted.web.  Requests are handed over
when their *head* is complete, not their body: https://github.com/twisted/twisted/issues/4688.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

from chatfiles.errors import (
    BadRequest,
    ChatfilesError,
    HeadTooLarge,
    RequestTimeout,
    URITooLong,
)
from chatfiles.streams.progress import unsent
from chatfiles.web import framing

if TYPE_CHECKING:
    from chatfiles.web.request import Request
    from chatfiles.web.site import Site

__all__ = ["LINGER_BYTES", "LINGER_SECONDS", "Channel"]

#: What a refused sender may still send before it is cut off, so that it reads the answer.
LINGER_BYTES = 64 * 1024
#: How long it may take to do so, in seconds.
LINGER_SECONDS = 2.0


class Channel(HTTPChannel):
    """
    One connection of a caller.  Its requests are served one after the other, in order.
    """

    maxHeaders = framing.MAX_HEAD_LINES
    totalHeadersSize = framing.MAX_HEAD_BYTES
    MAX_LENGTH = framing.MAX_HEAD_BYTES

    site: Site
    requests: list[Request]

    def __init__(self) -> None:
        super().__init__()
        self._in_head = False
        self._in_body = False
        self._lingering = False
        self._lingered = 0
        self._left = 0
        self._head_timer: IDelayedCall | None = None
        self._linger_timer: IDelayedCall | None = None

    # -- the connection

    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.channels.add(self)
        self._head_timer = self.callLater(self.site.header_timeout, self._head_late)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        for timer in (self._head_timer, self._linger_timer):
            if timer is not None and timer.active():
                timer.cancel()
        self.site.channels.discard(self)
        super().connectionLost(reason)

    @property
    def idle(self) -> bool:
        """Whether no request is being received or served."""
        return not self.requests and not self._in_head

    def abort(self) -> None:
        """Cut the connection so that the other end sees an incomplete message."""
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    def cut(self, outcome: str) -> None:
        """
        Abort whatever is being served.

        :param outcome: why, for the log.
        """
        for request in list(self.requests):
            request.abort(outcome)
        self.abort()

    # -- receiving

    def dataReceived(self, data: bytes) -> None:
        if self._lingering:
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES:
                self.abort()
            return
        super().dataReceived(data)
        self._watch_head()

    def rawDataReceived(self, data: bytes) -> None:
        if not self._lingering:
            super().rawDataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        if self._lingering:
            return
        try:
            if self._in_head:
                if line:
                    framing.check_field_line(line)
            elif line:
                self._in_head = True
                framing.check_request_line(line)
            if self._receivedHeaderSize + len(line) > self.totalHeadersSize:
                raise HeadTooLarge
            if self._receivedHeaderCount >= self.maxHeaders and line:
                raise HeadTooLarge
        except ChatfilesError as error:
            self.refuse(error)
            return
        super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line longer than the whole head may be."""
        self.refuse(HeadTooLarge() if self._in_head else URITooLong())

    def allHeadersReceived(self) -> None:
        """Hand the request over with its head, where Twisted would wait for its body."""
        request = self.requests[-1]
        self._in_head = False
        self._cancel_head_timer()
        try:
            framing.check_head(request.requestHeaders, self._version)
        except ChatfilesError as error:
            self.refuse(error)
            return
        self.persistent = self.checkPersistence(request, self._version)
        self._in_body = self.length != 0
        request.head_received(self._command, self._path, self._version, self.length)

    def allContentReceived(self) -> None:
        self._in_body = False
        if not self._lingering:
            super().allContentReceived()

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        """Whether another request may follow; Twisted reads only the first token of the field."""
        values = request.requestHeaders.getRawHeaders(b"connection", [])
        tokens = {token.strip().lower() for value in values for token in value.split(b",")}
        persistent = version == b"HTTP/1.1" and b"close" not in tokens and not self.site.draining
        if not persistent and version == b"HTTP/1.1":
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return persistent

    def resumeProducing(self) -> None:
        super().resumeProducing()
        if self.requests and self.requests[-1].body.paused:
            self.pause_reading()

    def requestDone(self, request: Request) -> None:
        super().requestDone(request)
        self._watch_head()

    # -- the body of the request that is being received

    def pause_reading(self) -> None:
        """Take no more from the caller; that time does not count against it."""
        self.setTimeout(None)
        self._networkProducer.pauseProducing()

    def resume_reading(self) -> None:
        """Take more; silence counts again."""
        if self._in_body:
            self.setTimeout(self.timeOut)
        self._networkProducer.resumeProducing()

    def send_continue(self) -> None:
        """
        Ask for a body whose sender waits to be asked (RFC 9110, 10.1.1); Twisted always would:
        https://github.com/twisted/twisted/issues/6928.
        """
        self._send100Continue()

    # -- time

    def _watch_head(self) -> None:
        # A head has one deadline in total, not one per byte (CONTRACT 9).  The timer is armed only
        # when a head is not complete after what was read, so that most requests never pay for it.
        if self._handlingRequest or self._in_body or self._lingering or self._head_timer:
            return
        if self._in_head or self._buffer:
            self._head_timer = self.callLater(self.site.header_timeout, self._head_late)

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        self._head_timer = None
        if self._in_head or self._buffer:
            self.refuse(RequestTimeout())
        else:
            self.abort()

    def timeoutConnection(self) -> None:
        """Nothing came for the idle time."""
        if self._in_body and self.requests:
            self.requests[-1].body.fail(RequestTimeout("request body was not received in time"))
        elif self._in_head:
            self.refuse(RequestTimeout())
        elif (left := unsent(self.transport)) and left != self._left:
            # The last answer is still on its way to a slow reader.
            self._left = left
            self.setTimeout(self.timeOut)
        else:
            self.abort()

    # -- refusing

    def _respondToBadRequestAndDisconnect(self) -> None:
        error = BadRequest("malformed request", code="malformed_request")
        if self._in_body and self.requests:
            self._in_body = False
            self.requests[-1].body.fail(error)
        else:
            self.refuse(error)

    def refuse(self, error: ChatfilesError) -> None:
        """
        Answer a request that never became one, then close.

        :param error: what is wrong with it.
        """
        if self._lingering:
            return
        self._cancel_head_timer()
        request_id = self.site.new_request_id()
        self.site.log_refusal(self, error, request_id)
        body = json.dumps(
            {"error": error.text, "code": error.code, "request_id": request_id}
        ).encode()
        transport: Any = self.transport
        transport.write(
            b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
            b"X-Request-Id: %s\r\nConnection: close\r\n\r\n%s"
            % (error.status, error.code.encode(), len(body), request_id.encode(), body)
        )
        self.requests.clear()
        self.linger()

    def linger(self) -> None:
        """
        Close in a way that lets the caller read the answer: stop sending, discard a bounded amount
        of what still comes, then cut.  (Closing with unread data resets the connection and may
        destroy the answer on its way.)
        """
        if self._lingering:
            return
        self._lingering = True
        self.persistent = False
        self.setTimeout(None)
        transport: Any = self.transport
        self._networkProducer.resumeProducing()
        self._networkProducer.unregisterProducer()  # type: ignore[attr-defined]
        self._linger_timer = self.callLater(LINGER_SECONDS, self.abort)
        if isinstance(transport, Connection) and not getattr(transport, "TLS", False):
            transport.loseWriteConnection()
        else:
            transport.loseConnection()
