"""
The server's connection: Twisted's HTTP/1.1 parser with strict framing, a total time for the head,
and refusals that arrive.

This package is the only one that touches private names of twisted.web.  Requests are handed over
when their *head* is complete, not their body: https://github.com/twisted/twisted/issues/4688.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IAddress, IDelayedCall, IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, _IdentityTransferDecoder
from zope.interface import implementer

from chatfiles.errors import BadRequest, ChatfilesError, RequestTimeout, Unavailable
from chatfiles.http import request_head
from chatfiles.http.chunked import ChunkedBody
from chatfiles.http.server.disconnect import DisconnectWatch, rest_is_here
from chatfiles.http.server.lingering_close import LastResponse, LingeringClose
from chatfiles.streams.peer_state import PeerState, peer_state
from chatfiles.streams.stall_timeout import PROXY_STALL_FACTOR, acknowledged, unsent
from chatfiles.streams.transports import SMALL_READ, TINY_READ, is_plain, read_at_most

if TYPE_CHECKING:
    from chatfiles.http.server.request import Request
    from chatfiles.http.server.site import Site

__all__ = ["ServerConnection"]

#: What a caller may send ahead while its request is served.
EAGER_BYTES = 16 * 1024
#: Requests of one caller that are served before others have their turn.
AT_ONCE = 50


@implementer(IHalfCloseableProtocol)
class ServerConnection(HTTPChannel):
    """
    One connection of a caller.  Its requests are served one after the other, in order.

    To its base, the receiver of lines, a whole head is one line.
    """

    delimiter = b"\r\n\r\n"
    MAX_LENGTH = request_head.MAX_HEAD_BYTES

    site: Site
    requests: list[Request]
    _peer: IAddress | None = None
    _host: IAddress | None = None
    #: The address at the other end; ``None`` where it has none, as on a Unix socket.
    peer: str | None = None
    _linger: LingeringClose

    def __init__(self) -> None:
        super().__init__()
        self._partial = request_head.PartialHead()
        self._in_body = False
        self._served = 0
        self._patience = 1
        self._read_closed = False
        self._lost = False
        self._read_size = SMALL_READ
        self._last_answer: LastResponse | None = None
        self._taken: Hashable = None
        self._leave_watch: DisconnectWatch | None = None
        self._head_timer: IDelayedCall | None = None

    # -- the connection

    def connectionMade(self) -> None:
        super().connectionMade()
        self.peer = getattr(self.getPeer(), "host", None)
        self._savedTimeOut = self.site.idle_timeout  # what applies again behind an answer
        self.site.channels.add(self)
        self._linger = LingeringClose(self.callLater, self._is_awaited, self.abort)
        self._head_timer = self.callLater(self.site.header_timeout, self._head_late)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True  # Twisted's own ``connected`` stays true
        self._cancel_head_timer()
        self._linger.stop()
        if self._leave_watch is not None:
            self._leave_watch.stop()
        self.site.channels.discard(self)
        super().connectionLost(reason)

    def readConnectionLost(self) -> None:
        """
        The caller sends no more, or has left: TCP does not tell.  What was asked for is answered
        all the same (``printf … | nc -N``); what others have to work for, if that begins soon, and
        as long as it is taken.
        """
        self._read_closed = True
        transport: Any = self.transport
        answered = self._linger.active or not self.requests or self.requests[-1].answered
        if not answered and self._in_body:
            transport.abortConnection()
        elif not answered:
            self._watch_leave()
        elif not self._holds_heads():
            self._networkProducer.unregisterProducer()  # type: ignore[attr-defined]
            transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """We send no more."""
        transport: Any = self.transport
        if self._read_closed:
            transport.loseConnection()

    @property
    def _in_head(self) -> bool:
        """Whether a head has begun and is not complete; an empty line is none (RFC 9112, 2.2)."""
        return bool(
            self.line_mode and not self.paused and self._buffer not in (b"", b"\r", b"\r\n")
        )

    def _holds_heads(self) -> bool:
        """:return: whether requests have been received that will be served later."""
        return bool(self.paused and self._buffer)

    @property
    def idle(self) -> bool:
        """Whether no request is being received, served or refused."""
        return not (self.requests or self._in_head or self._linger.active)

    def getPeer(self) -> IAddress:
        """As usual, without asking the system for every request."""
        if self._peer is None:
            self._peer = super().getPeer()
        return self._peer

    def getHost(self) -> IAddress:
        """As `getPeer`."""
        if self._host is None:
            self._host = super().getHost()
        return self._host

    def abort(self) -> None:
        """
        Cut the connection so that the other end sees an incomplete message: of what was written,
        our kernel still gets what it takes at once, such as a head that tells whose answer it was.
        """
        transport: Any = self.transport
        if transport is not None:
            # A pump, which is no streaming producer, leaves nothing in Twisted's buffer.
            if is_plain(transport) and transport.connected and transport.streamingProducer:
                transport.doWrite()
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
        if self._linger.active:
            if not self._linger.allows(len(data)):
                # Not cut yet: a reset would take the answer from a sender that is about to read it.
                self._networkProducer.pauseProducing()
            return
        transport: Any = self.transport
        if transport.disconnecting:  # TLS goes on reading until the other end agrees
            return
        super().dataReceived(data)
        if self.paused or self._busyReceiving:
            return
        self._served = 0
        if self._in_head and not self._linger.active:
            self._check_partial_head()
        self._watch_head()
        self._end_if_read()

    def _end_if_read(self) -> None:
        """Close behind the last answer to a caller that has closed its side."""
        if self._read_closed and not (self.requests or self._linger.active or self._holds_heads()):
            self.loseConnection()

    def _check_partial_head(self) -> None:
        try:
            self._partial.check(self._buffer)
        except ChatfilesError as error:
            self.refuse(error, self._buffer)

    def rawDataReceived(self, data: bytes) -> None:
        # What follows on a body that cannot be completed has no meaning.
        if not (self._linger.active or (self._in_body and self.requests[-1].body.failed)):
            super().rawDataReceived(data)
        # Twisted would not pause a caller who pipelines without reading what it asked for.
        if self._is_eager():
            self._networkProducer.pauseProducing()
            self._watch_leave()

    def _is_eager(self) -> bool:
        """Whether the caller has sent more ahead than it may while its request is served."""
        return bool(self._handlingRequest and sum(map(len, self._dataBuffer)) > EAGER_BYTES)

    def lineReceived(self, line: bytes) -> None:
        """
        A head is complete: hand the request over, where Twisted would wait for its body.

        :param line: the head, without the empty line at its end.
        """
        if self._linger.active:
            return
        self._cancel_head_timer()
        self._partial = request_head.PartialHead()
        try:
            head = request_head.read_head(line)
        except ChatfilesError as error:
            self.refuse(error, line, whole=True)
            return
        request: Request = self.requestFactory(self)  # type: ignore[assignment]
        self.requests.append(request)
        self._command, self._path, self._version = head.method, head.target, head.version
        self.length, self._in_body = head.length, head.length != 0
        self.persistent = head.persistent and not self.site.draining
        if head.length is None:
            self._transferDecoder = ChunkedBody(
                request.handleContentChunk,
                self._finishRequestBody,
                lambda: self.resize_reads(TINY_READ),
            )
        elif head.length:
            self._transferDecoder = _IdentityTransferDecoder(
                head.length, request.handleContentChunk, self._finishRequestBody
            )
        request.head_received(head)
        if self._read_closed:
            self._watch_leave()
        if self._in_body:
            self.setRawMode()
        else:
            self.allContentReceived()

    def lineLengthExceeded(self, line: bytes) -> None:
        """A head is larger than it may be."""
        self.refuse(request_head.too_large(line), line)

    def allContentReceived(self) -> None:
        self._in_body = False
        self.resize_reads(SMALL_READ)
        if not self._linger.active:
            super().allContentReceived()

    def resumeProducing(self) -> None:
        super().resumeProducing()
        if self.paused:
            self.paused = False
            self.dataReceived(b"")
        if self._is_paused():
            self.pause_reading()

    def requestDone(self, request: Request) -> None:
        if not self.persistent:
            self.setTimeout(self.site.idle_timeout)  # for a caller that does not take the rest
        # Answers that nobody takes must not pile up: the pipeline goes on when they have left.
        self.paused = bool(self.persistent and self._waitingForTransport)
        self._last_answer = None
        self._patience = PROXY_STALL_FACTOR if request.relayed else 1
        super().requestDone(request)
        self._served += 1
        if self.paused:
            self._networkProducer.pauseProducing()
        elif self._served >= AT_ONCE and self._busyReceiving and self.persistent:
            self.paused = True
            self._networkProducer.pauseProducing()
            self.callLater(0, self._go_on)
        if not self._busyReceiving:
            self._watch_head()
            self._end_if_read()

    def _go_on(self) -> None:
        """Serve more of what has been received, now that others have had their turn."""
        self._served = 0
        if self.paused and not (self._lost or self._waitingForTransport):
            self.paused = False
            self._networkProducer.resumeProducing()
            self.dataReceived(b"")

    # -- the body of the request that is being received

    def pause_reading(self) -> None:
        """Take no more from the caller; that time does not count against it."""
        self.setTimeout(None)
        self._networkProducer.pauseProducing()
        self._watch_leave()

    def _watch_leave(self) -> None:
        if self._leave_watch is None:
            self._leave_watch = DisconnectWatch(self.callLater, self._is_held_back, self.look)
        self._leave_watch.begin()

    def resume_reading(self) -> None:
        """Take more; silence counts again."""
        if self._in_body:
            self.setTimeout(self.site.idle_timeout)
        self._networkProducer.resumeProducing()

    def resize_reads(self, size: int) -> None:
        """
        :param size: bytes of one read, until the end of the body.
        """
        if size != self._read_size and (size <= SMALL_READ or is_plain(self.transport)):
            self._read_size = size
            read_at_most(self.transport, size)

    def _is_held_back(self) -> bool:
        if not self.requests:
            return False
        return self._read_closed or self._is_eager() or self._is_paused()

    def _is_paused(self) -> bool:
        return self._in_body and self.requests[-1].body.paused

    def look(self) -> None:
        """Look whether the caller has left, though nothing is read from it; if so, cut."""
        match peer_state(self.transport):
            case PeerState.RESET:
                self.cut("client_left")
            case PeerState.HALF_CLOSED if self._is_useless_without_caller() and not self._reads_on():
                self.cut("client_left")

    def _reads_on(self) -> bool:
        """
        :return: whether a caller that has closed its side takes what it is sent, since this was
            last asked: it may be there, which is not known the first time.
        """
        before, self._taken = self._taken, acknowledged(self.transport)()
        return self._read_closed and before != self._taken

    def _is_useless_without_caller(self) -> bool:
        """Whether `readConnectionLost` would give up what is served, were all read that came."""
        request = self.requests[-1]
        if request.ends_with_caller or not self._in_body:
            return request.ends_with_caller
        # Under TLS there is no closing of one side: the end is that of the connection.
        return not is_plain(self.transport) or not rest_is_here(
            self.transport, request.body, self._transferDecoder
        )

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
        if self._handlingRequest or self._in_body or self._linger.active or self._head_timer:
            return
        if self.paused:
            return
        if self._in_head:
            self._head_timer = self.callLater(self.site.header_timeout, self._head_late)

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        self._head_timer = None
        if self._in_head:
            self.refuse(RequestTimeout(), self._buffer)
        else:
            self.abort()

    def timeoutConnection(self) -> None:
        """Nothing came for the idle time."""
        if self._in_body:
            self._body_late(self.requests[-1])
        elif self._in_head:
            self.refuse(RequestTimeout(), self._buffer)
        elif self._is_awaited(self.site.idle_timeout):
            self.setTimeout(self.site.idle_timeout)
        elif unsent(self.transport):
            self.abort()
        else:
            self.loseConnection()  # not a reset: it may destroy what has not been read
            self._linger.cut_later()

    def _is_awaited(self, waited: float) -> bool:
        """See `LastResponse.is_awaited`."""
        if self._last_answer is None:
            timeout = self.site.idle_timeout * self._patience
            self._last_answer = LastResponse(self.transport, timeout)
        return self._last_answer.is_awaited(waited)

    def _body_late(self, request: Request) -> None:
        if request.answered:
            self.linger()  # all has been said, but perhaps a moment ago
        elif request.body.claimed:
            request.body.fail(RequestTimeout("request body was not received in time"))
        else:
            self.setTimeout(self.site.idle_timeout)  # nobody waits for it

    def close_idle(self) -> None:
        """Close, though under TLS the other end, such as a pool of connections, may not agree."""
        if is_plain(self.transport):
            self.loseConnection()
        else:
            self.linger()

    def refuse_incomplete(self) -> None:
        """
        Wait no longer for the rest of a head, of a small body, or of one that has been answered.
        """
        error = Unavailable("draining", code="draining")
        if self._in_head:
            self.refuse(error, self._buffer)
        elif self._in_body and self.requests[-1].answered:
            self.linger()
        elif self._in_body and self.requests[-1].body.small:
            self.requests[-1].body.fail(error)

    # -- refusing

    def _respondToBadRequestAndDisconnect(self) -> None:
        error = BadRequest("malformed request", code="malformed_request")
        if self._in_body:
            self.requests[-1].body.fail(error)
        else:
            self.refuse(error, self._buffer)

    def refuse(self, error: ChatfilesError, head: bytes, *, whole: bool = False) -> None:
        """
        Answer a request that never became one with what is wrong with it, then close.

        :param head: what there is of it.
        :param whole: whether that is all of its head.
        """
        if self._linger.active:
            return
        self._cancel_head_timer()
        request_id = self.site.request_id(request_head.values_of(b"x-request-id", head)[0])
        forwarded, is_all = request_head.values_of(b"x-forwarded-for", head)
        if not (whole and is_all):  # the line of the nearest proxy may be missing
            forwarded = []
        self.site.refused(error, request_id, self.peer, forwarded)
        transport: Any = self.transport
        answer = request_head.refusal(error, request_id, self.site.http_date())
        if head.removeprefix(b"\r\n").startswith(b"HEAD "):  # RFC 9110, 9.3.2
            answer = answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        transport.write(answer)
        self.linger()

    def linger(self) -> None:
        """
        Close in a way that lets the caller read the answer: stop sending, discard a bounded amount
        of what still comes, then cut.  (Closing with unread data resets the connection and may
        destroy the answer on its way.)
        """
        if self._linger.active:
            return
        self.persistent = False
        self.setTimeout(None)
        transport: Any = self.transport
        self._networkProducer.resumeProducing()
        self._networkProducer.unregisterProducer()  # type: ignore[attr-defined]
        self._linger.begin()
        if is_plain(self.transport):
            transport.loseWriteConnection()
        else:
            transport.loseConnection()
