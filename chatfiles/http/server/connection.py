"""
One connection of a client: HTTP/1.1 with strict framing, a deadline for every state, and refusals
that reach the client.

What may happen when is in `connection_state`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from chatfiles.errors import BadRequest, ChatfilesError, RequestTimeout, Unavailable
from chatfiles.http.chunked import MalformedChunks
from chatfiles.http.message_head import request as request_head
from chatfiles.http.server.chunked_body import ChunkedBody
from chatfiles.http.server.connection_state import Event, State, next_state
from chatfiles.http.server.deadline import Deadline
from chatfiles.http.server.disconnect import LOOK, DisconnectCheck
from chatfiles.http.server.interfaces import ConnectionSite
from chatfiles.http.server.lingering_close import LINGER_BYTES, LINGER_SECONDS, LastResponse
from chatfiles.http.server.refusal import refusal
from chatfiles.http.server.request import Request
from chatfiles.http.server.request_body import BodyDecoder, FixedLengthBody
from chatfiles.streams.stall_timeout import PROXY_STALL_FACTOR, unsent
from chatfiles.streams.transports import SMALL_READ, TINY_READ, is_plain, read_at_most

__all__ = ["EAGER_BYTES", "REQUESTS_PER_TURN", "ServerConnection"]

#: Bytes that a client may send ahead while its request is served.
EAGER_BYTES = 16 * 1024
#: Requests of one connection that are served in a row before other connections have their turn.
REQUESTS_PER_TURN = 50

_HEAD_END = b"\r\n\r\n"
#: What may precede a head without being a part of it (RFC 9112, 2.2).
_BLANK = (b"", b"\r", b"\r\n")

# States in which received bytes are handled, as a head or as a body; and those that ignore them.
_HEADS = frozenset({State.IDLE, State.HEAD})
_BODIES = frozenset({State.BODY, State.HELD, State.DRAINING})
_OVER = frozenset({State.ENDING, State.CLOSING, State.CLOSED})

#: How long a state lasts, where that is neither the idle timeout nor a question of facts.
_SECONDS: dict[State, float | None] = {
    State.HELD: LOOK,
    State.YIELDING: 0.0,
    State.LINGERING: LINGER_SECONDS,
    State.CLOSING: LINGER_SECONDS,
    State.CLOSED: None,
}


class _Unpausable:
    """Stands for a transport, such as one of tests, that has no back-pressure."""

    def registerProducer(self, producer: object, streaming: bool) -> None:
        pass

    def unregisterProducer(self) -> None:
        pass

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass


@implementer(IHalfCloseableProtocol, IPushProducer)
class ServerConnection(Protocol):
    """
    Receives the requests of one client and lets each be served before it goes on to the next.

    It is the transport's producer: the transport pauses it when the client reads too slowly.

    :param site: what it belongs to.
    :param request_factory: makes a request from its connection.
    :ivar state: see `connection_state`.
    :ivar peer: the address at the other end; ``None`` where it has none, as on a Unix socket.
    :ivar persistent: another request may follow the one that is served.
    :ivar send_blocked: the client has not read enough for more to be sent.
    :ivar peer_finished: the client sends no more.
    """

    peer: str | None = None

    def __init__(
        self, site: ConnectionSite, request_factory: Callable[[ServerConnection], Request]
    ) -> None:
        self.site = site
        self.state = State.IDLE
        self.persistent = True
        self.send_blocked = False
        self.peer_finished = False
        self._request_factory = request_factory
        self._request: Request | None = None
        self._producer: Any = None
        self._pulled = False
        self._received = b""
        self._partial = request_head.PartialHead()
        self._head_by: float | None = None
        self._decoder: BodyDecoder | None = None
        self._working = False
        self._served = 0
        self._reading = True
        self._read_size = SMALL_READ
        self._lingered = 0
        self._stall_factor = 1
        self._last_response: LastResponse | None = None
        self._deadline = Deadline(site.reactor, self._late)

    def _become(self, event: Event) -> None:
        self.state = next_state(self.state, event)

    # -- the transport's side

    def connectionMade(self) -> None:
        """Begin to wait for a head."""
        transport: Any = self.transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        self._network = transport if IPushProducer.providedBy(transport) else _Unpausable()
        self._network.registerProducer(self, True)
        self._addresses = transport.getPeer(), transport.getHost()
        self.peer = getattr(self._addresses[0], "host", None)
        self._check = DisconnectCheck(transport)
        self.site.channels.add(self)
        self._head_by = self.site.reactor.seconds() + self.site.header_timeout
        self._restart_deadline()

    def dataReceived(self, data: bytes) -> None:
        """
        :param data: bytes from the client.
        """
        if self.state is State.LINGERING:
            # Beyond the limit it is not reset yet: a client that is about to read would lose what
            # was sent.
            self._lingered += len(data)
            self._update_reading()
        elif self.state not in _OVER:  # TLS goes on reading until the client agrees to the end
            self._received = self._received + data if self._received else data
            self._work()

    def readConnectionLost(self) -> None:
        """
        The client sends no more, or has left: TCP does not tell which.  A request that is complete
        is served all the same (``printf … | nc -N``), unless it `ends_with_caller` and the client
        takes nothing.
        """
        self.peer_finished = True
        self._fin()
        self._settle()

    def _fin(self) -> None:
        if self.state in (State.BODY, State.HELD):
            self._become(Event.FIN)
            self.cut("client_left")
            return
        self._become(Event.FIN)
        if self.state in (State.ENDING, State.LINGERING):
            self._close()

    def writeConnectionLost(self) -> None:
        """We send no more."""
        if self.peer_finished:
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is gone."""
        self._become(Event.LOST)
        self._deadline.stop()
        self.site.channels.discard(self)
        request, self._request = self._request, None
        if request is not None:
            request.connectionLost(reason)

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self.send_blocked = True
        if self._producer is not None:
            self._producer.pauseProducing()
        self._update_reading()

    def resumeProducing(self) -> None:
        """The transport's buffer is empty."""
        self.send_blocked = False
        if self._producer is not None:
            self._producer.resumeProducing()
        self._next_request()
        self._update_reading()

    def stopProducing(self) -> None:
        """The transport is about to be gone."""
        if self._producer is not None:
            self._producer.stopProducing()

    # -- heads and bodies

    def _work(self) -> None:
        """Handle what has been received, as far as the state allows."""
        if self._working:
            return
        self._working, self._served = True, 0
        try:
            while self._received and self._step():
                pass
        finally:
            self._working = False
        if self.peer_finished and self.state in _HEADS:
            self._fin()
        self._settle()

    def _step(self) -> bool:
        """:return: whether there may be more to do."""
        if self.state in _HEADS:
            return self._read_head()
        if self.state in _BODIES:
            self._read_body()
            return True
        return False

    def _settle(self) -> None:
        """Make the transport and the deadline fit the state."""
        if not self._working:
            self._update_reading()
            self._restart_deadline()

    def _read_head(self) -> bool:
        received = self._received
        if received in _BLANK:
            return False
        self._begin_head()
        head, end, rest = received.partition(_HEAD_END)
        if len(head) > request_head.MAX_HEAD_BYTES + (0 if end else len(_HEAD_END) - 1):
            self.refuse(request_head.too_large(received), received)
        elif end:
            self._received = rest
            self._head_received(head)
        else:
            self._check_partial_head()
        return bool(end)

    def _begin_head(self) -> None:
        if self.state is State.IDLE:
            self._become(Event.BYTES)

    def _check_partial_head(self) -> None:
        try:
            self._partial.check(self._received)
        except ChatfilesError as error:
            self.refuse(error, self._received)

    def _head_received(self, part: bytes) -> None:
        """
        :param part: a whole head, without the empty line at its end.
        """
        self._partial, self._head_by = request_head.PartialHead(), None
        try:
            head = request_head.read_head(part)
        except ChatfilesError as error:
            self.refuse(error, part, whole=True)
            return
        self.persistent = head.persistent and not self.site.draining
        self._request = request = self._request_factory(self)
        if head.length == 0:
            self._become(Event.REQUEST)
        else:
            self._decoder = self._decoder_for(head.length, request)
            self._become(Event.UPLOAD)
        request.head_received(head)

    def _decoder_for(self, length: int | None, request: Request) -> BodyDecoder:
        def received(data: bytes) -> None:
            request.body.data_received(data)

        if length is None:
            return ChunkedBody(received, self._body_ended, lambda: self.resize_reads(TINY_READ))
        return FixedLengthBody(length, received, self._body_ended)

    def _read_body(self) -> None:
        data, self._received = self._received, b""
        assert self._request is not None
        assert self._decoder is not None
        if self._request.body.failed:
            return  # the rest of a body that cannot be completed has no meaning
        try:
            self._decoder.dataReceived(data)
        except (BadRequest, MalformedChunks):
            error = BadRequest("malformed request", code="malformed_request")
            self._request.body.fail(error)

    def _body_ended(self, rest: bytes) -> None:
        """
        :param rest: what follows the body.
        """
        if self.state in _BODIES:
            assert self._request is not None
            self._received, self._decoder = rest, None
            self.resize_reads(SMALL_READ)
            self._become(Event.BODY_END)
            self._request.body_received()

    # -- the request's side: its body

    def pause_reading(self) -> None:
        """Take no more from the client; that time does not count against it."""
        if self.state is State.BODY:
            self._become(Event.HOLD)
            self._settle()

    def resume_reading(self) -> None:
        """Take more from the client; its silence counts again."""
        if self.state is State.HELD:
            self._become(Event.RESUME)
            self._settle()

    def resize_reads(self, size: int) -> None:
        """
        :param size: bytes of one read of the socket, until the end of the body.
        """
        if size != self._read_size and (size <= SMALL_READ or is_plain(self.transport)):
            self._read_size = size
            read_at_most(self.transport, size)

    def send_continue(self) -> None:
        """
        Ask for a body whose sender waits to be asked (RFC 9110, 10.1.1).  Twisted's own connection
        always asks: https://github.com/twisted/twisted/issues/6928.
        """
        if self.state in _BODIES:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def look(self) -> None:
        """Reset the connection if its client has left, although nothing was read that says so."""
        request = self._request
        if request is not None and self._check.has_left(
            request.body, ends_with_client=request.ends_with_caller, after_fin=self.peer_finished
        ):
            self.cut("client_left")

    # -- the request's side: its response

    def getPeer(self) -> IAddress:
        """:return: the address at the other end."""
        return self._addresses[0]

    def getHost(self) -> IAddress:
        """:return: our own address."""
        return self._addresses[1]

    def isSecure(self) -> bool:
        """:return: whether the transport is TLS."""
        return ISSLTransport.providedBy(self.transport)

    def write(self, data: bytes) -> None:
        """
        :param data: bytes to send.
        """
        transport: Any = self.transport
        transport.write(data)

    def writeSequence(self, pieces: Sequence[bytes]) -> None:
        """
        :param pieces: bytes to send.
        """
        transport: Any = self.transport
        transport.writeSequence(pieces)

    def loseConnection(self) -> None:
        """Close the connection when all has been sent, whatever is being served."""
        self._close()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        :param producer: makes the body of a response.
        :param streaming: it is paused and resumed; otherwise it is called whenever all was sent.
        """
        if self._producer is not None:
            raise RuntimeError(f"{producer} cannot replace {self._producer}")
        self._producer, self._pulled = producer, not streaming
        if not streaming:
            self._network.unregisterProducer()
            transport: Any = self.transport
            transport.registerProducer(producer, False)

    def unregisterProducer(self) -> None:
        """The producer has made the whole body."""
        self._producer = None
        if self._pulled:
            self._pulled = False
            transport: Any = self.transport
            transport.unregisterProducer()
            self._network.registerProducer(self, True)

    def answered_early(self) -> None:
        """The response is complete, and the request's body is not."""
        assert self._request is not None
        if self.persistent and not self._request.body.failed:
            self._become(Event.ANSWERED)
            self._settle()
        else:
            self._linger(Event.ANSWERED_LAST)

    def requestDone(self, request: Request) -> None:
        """
        The response is complete, and so is the request.

        :param request: the one that is served.
        """
        self._request = self._last_response = None
        self._stall_factor = PROXY_STALL_FACTOR if request.relayed else 1
        self._served += 1
        if self.persistent:
            if self.state is State.SERVING:
                self._become(Event.ANSWERED)
            self._next_request()
        else:
            self._become(Event.ANSWERED_LAST)
            self._close()
        self._settle()

    def _next_request(self) -> None:
        """
        Go on to the next request, unless the client has to take the response first: responses that
        are not read must not pile up.
        """
        if self.state is not State.FLUSHING or self.send_blocked:
            return
        if self._working and self._received and self._served >= REQUESTS_PER_TURN:
            self._become(Event.YIELD)
        else:
            self._become(Event.FLUSHED)
            self._work()

    # -- reading, and time

    def _update_reading(self) -> None:
        reading = self._wants_to_read()
        if self._working or reading is self._reading or self.state is State.CLOSED:
            return
        self._reading = reading
        if reading:
            self._network.resumeProducing()
        else:
            self._network.pauseProducing()

    def _wants_to_read(self) -> bool:
        match self.state:
            case State.HELD | State.FLUSHING | State.YIELDING:
                return False
            case State.SERVING:
                return not (self.peer_finished or self._is_eager())
            case State.LINGERING:
                return self._lingered <= LINGER_BYTES
            case State.ENDING | State.CLOSING:
                return True  # for TLS, where the client has to agree to the end
        return not self.send_blocked

    def _is_eager(self) -> bool:
        """Whether the client has sent more ahead than it may while its request is served."""
        return len(self._received) > EAGER_BYTES

    def _restart_deadline(self) -> None:
        self._deadline.set(self._seconds())

    def _seconds(self) -> float | None:
        """:return: after how many seconds `_late` has something to do in this state."""
        if self.state in _HEADS:
            return self._seconds_for_head()
        if self.state is State.SERVING:
            return LOOK if self.peer_finished or self._is_eager() else None
        return _SECONDS.get(self.state, self.site.idle_timeout)

    def _seconds_for_head(self) -> float:
        now, idle_timeout = self.site.reactor.seconds(), self.site.idle_timeout
        if self.state is State.HEAD and self._head_by is None:
            self._head_by = now + self.site.header_timeout  # in total, however often a byte comes
        return idle_timeout if self._head_by is None else min(idle_timeout, self._head_by - now)

    def _late(self) -> None:
        """The deadline of the state has passed."""
        _LATE[self.state](self)
        self._settle()

    def _head_late(self) -> None:
        self.refuse(RequestTimeout(), self._received)

    def _body_late(self) -> None:
        assert self._request is not None
        body = self._request.body
        if body.claimed:  # else the client was not asked for it yet
            body.fail(RequestTimeout("request body was not received in time"))

    def _drain_late(self) -> None:
        # The response is complete, but perhaps since a moment only.
        self._linger(Event.SILENT)

    def _turn(self) -> None:
        self._become(Event.TURN)
        self._served = 0
        self._next_request()

    def _silent(self) -> None:
        if self._head_by is not None and self._head_by <= self.site.reactor.seconds():
            self.abort()  # it never asked for anything
        elif self._is_awaited(self.site.idle_timeout):
            pass
        elif unsent(self.transport):
            self.abort()
        else:
            self._become(Event.SILENT)
            self._close()  # not a reset: it may destroy what has not been read

    def _linger_late(self) -> None:
        if not self._is_awaited(LINGER_SECONDS):
            self.abort()

    def _is_awaited(self, waited: float) -> bool:
        """See `LastResponse.is_awaited`."""
        if self._last_response is None:
            timeout = self.site.idle_timeout * self._stall_factor
            self._last_response = LastResponse(self.transport, timeout)
        return self._last_response.is_awaited(waited)

    # -- the end

    def refuse(self, error: ChatfilesError, part: bytes, *, whole: bool = False) -> None:
        """
        Send an error response to a request that never became one, then close.

        :param error: what is wrong with it.
        :param part: what there is of its head.
        :param whole: whether that is all of the head.
        """
        request_id = self.site.request_id(request_head.values_of(b"x-request-id", part)[0])
        forwarded, is_all = request_head.values_of(b"x-forwarded-for", part)
        if not (whole and is_all):  # the line of the nearest proxy may be missing
            forwarded = []
        self.site.refused(error, request_id, self.peer, forwarded)
        response = refusal(error, request_id, self.site.http_date())
        if part.removeprefix(b"\r\n").startswith(b"HEAD "):  # RFC 9110, 9.3.2
            response = response.partition(_HEAD_END)[0] + _HEAD_END
        self.write(response)
        self._linger(Event.REFUSED)

    def _linger(self, event: Event) -> None:
        """Stop sending, and let the client read the last response."""
        self._become(event)
        self._received = b""
        self.persistent = False
        self._settle()
        if is_plain(self.transport):
            self._network.unregisterProducer()
            transport: Any = self.transport
            transport.loseWriteConnection()
        else:
            self._close()

    def _close(self) -> None:
        self._network.unregisterProducer()  # or the transport would wait for it
        transport: Any = self.transport
        transport.loseConnection()

    def abort(self) -> None:
        """
        Reset the connection, so that the client sees an incomplete message.  Of what was written,
        our kernel still gets what it takes at once, such as the head of the response.
        """
        transport: Any = self.transport
        if transport is None or self.state is State.CLOSED:
            return
        self._become(Event.ABORT)
        # A pump, which is no streaming producer, leaves nothing in Twisted's buffer.
        if is_plain(transport) and transport.connected and transport.streamingProducer:
            transport.doWrite()
        transport.abortConnection()

    def cut(self, outcome: str) -> None:
        """
        Abort the request that is being served, if any, and reset the connection.

        :param outcome: why, for the log.
        """
        if self._request is not None:
            self._request.abort(outcome)
        self.abort()

    # -- when the site stops

    @property
    def idle(self) -> bool:
        """Whether no request is being received, served or refused."""
        return self.state in (State.IDLE, State.FLUSHING, State.YIELDING, State.ENDING)

    def close_idle(self) -> None:
        """Close; under TLS the client, such as a pool of connections, may not agree."""
        if is_plain(self.transport):
            self._become(Event.STOP)
            self._close()
            self._settle()
        else:
            self._linger(Event.STOP_TLS)

    def refuse_incomplete(self) -> None:
        """
        Wait no longer for the rest of a head, of a small body, or of one that has its response.
        """
        error = Unavailable("draining", code="draining")
        if self.state is State.HEAD:
            self.refuse(error, self._received)
        elif self.state is State.DRAINING:
            self._linger(Event.SILENT)
        elif self.state in _BODIES and self._request is not None and self._request.body.small:
            self._request.body.fail(error)


_LATE: dict[State, Callable[[ServerConnection], object]] = {
    State.IDLE: ServerConnection._silent,
    State.HEAD: ServerConnection._head_late,
    State.BODY: ServerConnection._body_late,
    State.HELD: ServerConnection.look,
    State.SERVING: ServerConnection.look,
    State.DRAINING: ServerConnection._drain_late,
    State.FLUSHING: ServerConnection._silent,
    State.YIELDING: ServerConnection._turn,
    State.ENDING: ServerConnection._silent,
    State.LINGERING: ServerConnection._linger_late,
    State.CLOSING: ServerConnection.abort,
}
