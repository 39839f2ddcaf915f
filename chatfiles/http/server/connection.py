"""
One connection of a client: HTTP/1.1 with strict framing, a deadline for every state, and refusals
that reach the client.  What may happen when is in `connection_state`.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from chatfiles.errors import ChatfilesError, RequestTimeout, Unavailable
from chatfiles.http.message_head.request import RequestHead
from chatfiles.http.server.body_decoder import BodyDecoder, body_decoder, feed_body
from chatfiles.http.server.channel import Channel
from chatfiles.http.server.connection_state import (
    BODIES,
    ENDED,
    HEADS,
    NEXT_STATES,
    SECONDS,
    Event,
    State,
    reads_in,
)
from chatfiles.http.server.deadline import Deadline
from chatfiles.http.server.disconnect import CHECK_INTERVAL, DisconnectCheck
from chatfiles.http.server.fast_path import FastRequest, UsualHeaders
from chatfiles.http.server.head_reader import HeadReader, HeadRefused, is_blank
from chatfiles.http.server.idle_policy import IdlePolicy
from chatfiles.http.server.interfaces import ConnectionSite
from chatfiles.http.server.lingering_close import LINGER_BYTES, LINGER_SECONDS, LastResponse
from chatfiles.http.server.refusal import refusal_of
from chatfiles.http.server.request import Request
from chatfiles.streams.outcome import Outcome
from chatfiles.streams.stall_timeout import unsent
from chatfiles.streams.transports import SMALL_READ, is_plain

__all__ = ["EAGER_BYTES", "REQUESTS_PER_TURN", "ServerConnection"]

#: Bytes that a client may send ahead while its request is served.
EAGER_BYTES = 16 * 1024
#: Requests of one connection that are served in a row before other connections have their turn.
REQUESTS_PER_TURN = 50
RequestFactory = Callable[["ServerConnection"], Request]


@implementer(IHalfCloseableProtocol)
class ServerConnection(Channel):
    """
    Receives the requests of one client and lets each be served before the next one.

    :param site: what it belongs to.
    :param request_factory: makes a request from its connection.
    :param idle_policy: says how long it waits for requests.
    :ivar state: see `connection_state`.
    :ivar persistent: another request may follow the one that is served.
    :ivar peer_finished: the client sends no more.
    :ivar request: the request that is served; ``None`` between requests.
    :ivar usual_headers: see `chatfiles.http.server.interfaces.FastConnection`.
    """

    def __init__(
        self, site: ConnectionSite, request_factory: RequestFactory, idle_policy: IdlePolicy
    ) -> None:
        super().__init__()
        self.site = site
        self.state = State.IDLE
        self.persistent, self.peer_finished = True, False
        self.usual_headers: tuple[bytes, UsualHeaders | None] = (b"", None)
        self._request_factory = request_factory
        self._policy = idle_policy
        self.request: Request | FastRequest | None = None
        self._head = HeadReader(site.reactor, site.header_timeout)
        self._decoder: BodyDecoder | None = None
        self._served, self._lingered, self._working = 0, 0, False
        self._deadline = Deadline(site.reactor, self._late)

    def _become(self, event: Event) -> None:
        self.state = NEXT_STATES[self.state, event]

    # -- the transport's side

    def connectionMade(self) -> None:
        """Begin to wait for a request."""
        super().connectionMade()
        self._check = DisconnectCheck(self.transport)
        self._last = LastResponse(self.transport, self.site.idle_timeout)
        self.site.channels.add(self)
        if self._policy.first_is_due:
            self._head.begin()
        self._settle()

    def dataReceived(self, data: bytes) -> None:
        """The client sent *data*."""
        if self.state is State.LINGERING:
            # Beyond the limit it is not reset yet: a client that is about to read would lose what
            # was sent.
            self._lingered += len(data)
            self._update_reading()
        elif self.state not in ENDED:  # TLS continues to read until the client agrees to the end
            self.received = self.received + data if self.received else data
            self._work()

    def readConnectionLost(self) -> None:
        """
        The client sends no more, or has left: TCP does not tell which.  A request that is complete
        is served all the same (``printf … | nc -N``), unless it `ends_with_client` and the client
        takes nothing.
        """
        self.peer_finished = True
        self._fin()
        self._settle()

    def _fin(self) -> None:
        is_interrupted = self.state in (State.BODY, State.HELD)
        self._become(Event.FIN)
        if is_interrupted:
            self.cut(Outcome.CLIENT_LEFT)
        elif self.state in (State.ENDING, State.LINGERING):
            self.loseConnection()

    def writeConnectionLost(self) -> None:
        """We send no more."""
        if self.peer_finished:
            self.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is gone."""
        self._become(Event.LOST)
        self._deadline.stop()
        self._decoder = None  # it refers to the request, which refers to this
        self.site.channels.discard(self)
        self._policy.connection_lost()
        request, self.request = self.request, None
        if request is not None:
            request.connectionLost(reason)

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        super().pauseProducing()
        self._update_reading()

    def resumeProducing(self) -> None:
        """The transport's buffer is empty."""
        super().resumeProducing()
        self._next_request()
        self._update_reading()

    # -- what is received

    def _work(self) -> None:
        """Handle what has been received, as far as the state allows."""
        if self._working:
            return
        self._working, self._served = True, 0
        try:
            while self.received and self._step():
                pass
        finally:
            self._working = False
        if self.peer_finished and self.state in HEADS:
            self._fin()
        is_fast = self.state is State.SERVING and isinstance(self.request, FastRequest)
        if self.received or not is_fast:
            self._settle()  # else it is done soon, and until then the old deadline does no harm

    def _step(self) -> bool:
        """:return: whether there may be more to do."""
        if self.state is State.IDLE and self._serve_fast():
            return True
        if self.state in HEADS:
            return self._read_head()
        return self.state in BODIES and self._read_body()

    def _settle(self) -> None:
        """Make the transport and the deadline fit the state."""
        if self._working:
            return
        reads_as_idle = self._reading is not self.send_blocked
        if self.state is State.IDLE and self._head.by is None and reads_as_idle:
            self._deadline.set(self._policy.request_awaited())  # most often
        else:
            self._update_reading()
            self._deadline.set(self._seconds())

    def _read_head(self) -> bool:
        if is_blank(self.received):
            return False
        if self.state is State.IDLE:
            self._become(Event.BYTES)
        try:
            head, self.received = self._head.read(self.received)
        except HeadRefused as refused:
            self.refuse(refused.error, refused.part, whole=refused.whole)
            return False
        if head is not None:
            self._serve(head)
        return head is not None

    def _serve_fast(self) -> bool:
        """:return: whether the fast path serves what has been received."""
        fast, received = self.site.fast_path, self.received
        request = fast.recognise(self, received) if fast is not None else None
        if request is None:
            return False
        self.persistent = self._policy.request_begins(request.target) and request.headers.persistent
        self.request, self.received, self._head.by = request, b"", None
        self._become(Event.REQUEST)
        if fast.serve(request):
            return True
        self.request, self.received = None, received
        self._become(Event.DECLINED)
        return False

    def new_request(self) -> Request:
        """:return: a new request, in place of one on the fast path, if there is one."""
        self.request = request = self._request_factory(self)
        return request

    def _serve(self, head: RequestHead) -> None:
        keeps = self._policy.request_begins(head.target) and not self.site.draining
        self.persistent = head.persistent and keeps
        request = self.new_request()
        if head.length != 0:
            left = None if head.length is None else (lambda: request.body.left)
            self._decoder = body_decoder(
                left, request.data_received, self._body_ended, self.read_tiny_pieces
            )
        self._become(Event.REQUEST if head.length == 0 else Event.UPLOAD)
        request.head_received(head)

    def _read_body(self) -> bool:
        data, self.received = self.received, b""
        assert self.request is not None
        assert self._decoder is not None
        feed_body(self._decoder, data, self.request.body)
        return True

    def _body_ended(self, rest: bytes) -> None:
        """The body is complete; *rest* follows it."""
        if self.state in BODIES:
            assert isinstance(self.request, Request)
            self.received, self._decoder = rest, None
            self.resize_reads(SMALL_READ)
            self._become(Event.BODY_END)
            self.request.body_received()

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

    def body_spliced(self) -> None:
        """A part of the body was read from the socket elsewhere: the client is not silent."""
        self._settle()

    def send_continue(self) -> None:
        """Ask for a body; not always, unlike https://github.com/twisted/twisted/issues/6928."""
        if self.state in BODIES:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def check_client(self) -> None:
        """Reset the connection if its client has left, although nothing was read that says so."""
        request = self.request
        if request is not None and self._check.has_left(request, after_fin=self.peer_finished):
            self.cut(Outcome.CLIENT_LEFT)

    # -- the request's side: its response

    def response_before_body(self) -> None:
        """The response is complete, and the request's body is not."""
        assert self.request is not None
        if self.persistent and not self.request.body.failed:
            self._become(Event.ANSWERED)
            self._settle()
        else:
            self._linger(Event.ANSWERED_LAST)

    def requestDone(self, request: Request | FastRequest) -> None:
        """The response is complete, and so is *request*."""
        self.request = None
        self._last.begin(relayed=request.relayed)
        self._served += 1
        if self.persistent:
            if self.state is State.SERVING:
                self._become(Event.ANSWERED)
            if self._next_request():
                return
        else:
            self._become(Event.ANSWERED_LAST)
            self.loseConnection()
        self._settle()

    def _next_request(self) -> bool:
        """
        Begin the next request, unless the client has to take the response first: responses that
        are not read must not pile up.

        :return: whether it began, and the deadline fits the state.
        """
        if self.state is not State.FLUSHING or self.send_blocked:
            return False
        if self._working and self.received and self._served >= REQUESTS_PER_TURN:
            self._become(Event.YIELD)
            return False
        self._become(Event.FLUSHED)
        self._work()
        return True

    # -- reading, and time

    def _update_reading(self) -> None:
        if not self._working and self.state is not State.CLOSED:
            reading = reads_in(
                self.state,
                eager=self.peer_finished or len(self.received) > EAGER_BYTES,
                blocked=self.send_blocked,
                lingering=self._lingered <= LINGER_BYTES,
            )
            self.set_reading(reading)

    def _seconds(self) -> float | None:
        """:return: after how many seconds `_late` has something to do in this state."""
        state, idle_timeout = self.state, self.site.idle_timeout
        if state in HEADS:
            if state is State.IDLE:
                idle_timeout = self._policy.request_awaited()
            else:
                self._head.begin()
            left = self._head.seconds_left
            return idle_timeout if left is None else min(idle_timeout, left)
        if state is State.SERVING:
            has_sent_all = self.peer_finished or len(self.received) > EAGER_BYTES
            return CHECK_INTERVAL if has_sent_all else None
        return SECONDS.get(state, idle_timeout)

    def _late(self) -> None:
        """The deadline of the state has passed."""
        _ON_TIMEOUT[self.state](self)
        self._settle()

    def _body_late(self) -> None:
        # A body that is not claimed has not been asked for yet.
        if self.request is not None and self.request.body.claimed:
            self.request.body.fail(RequestTimeout("request body was not received in time"))

    def _turn(self) -> None:
        self._become(Event.TURN)
        self._next_request()

    def _silent(self) -> None:
        left = self._head.seconds_left
        never_asked = left is not None and left <= 0
        waited = self.site.idle_timeout
        if never_asked or (unsent(self.transport) and not self._last.is_awaited(waited)):
            self.abort()
        elif not unsent(self.transport):
            self._become(Event.SILENT)
            self.loseConnection()  # not a reset: it may destroy what has not been read

    # -- the end

    def refuse(self, error: ChatfilesError, part: bytes, *, whole: bool = False) -> None:
        """
        Send an error response to a request that never became one, then close.

        :param error: what is wrong with it.
        :param part: what has been received of its request line and headers.
        :param whole: whether that is all of them.
        """
        self.write(refusal_of(self.site, self.peer, error, part, whole=whole))
        self._linger(Event.REFUSED)

    def _linger(self, event: Event) -> None:
        """Stop sending, and let the client read the last response."""
        self._become(event)
        self.received = b""
        self.persistent = False
        self._settle()
        self.stop_sending()

    def abort(self) -> None:
        """Reset the connection, so that the client sees an incomplete message."""
        if self.state is not State.CLOSED:
            self._become(Event.ABORT)
            self.reset()

    def cut(self, outcome: Outcome) -> None:
        """
        Abort the request that is being served, if any, and reset the connection.

        :param outcome: why, for the log.
        """
        if self.request is not None:
            self.request.abort(outcome)
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
            self.loseConnection()
            self._settle()
        else:
            self._linger(Event.STOP_TLS)

    def refuse_incomplete(self) -> None:
        """Wait no longer for headers, for a small body, or for one that has its response."""
        error = Unavailable("draining", code="draining")
        if self.state is State.HEAD:
            self.refuse(error, self.received)
        elif self.state is State.DRAINING:
            self._linger(Event.SILENT)
        elif self.state in BODIES and self.request is not None and self.request.body.small:
            self.request.body.fail(error)


_ON_TIMEOUT: dict[State, Callable[[ServerConnection], object]] = {
    State.IDLE: ServerConnection._silent,
    State.HEAD: lambda connection: connection.refuse(RequestTimeout(), connection.received),
    State.BODY: ServerConnection._body_late,
    State.HELD: ServerConnection.check_client,
    State.SERVING: ServerConnection.check_client,
    State.DRAINING: lambda connection: connection._linger(Event.SILENT),
    State.FLUSHING: ServerConnection._silent,
    State.YIELDING: ServerConnection._turn,
    State.ENDING: ServerConnection._silent,
    State.LINGERING: lambda it: None if it._last.is_awaited(LINGER_SECONDS) else it.abort(),
    State.CLOSING: ServerConnection.abort,
}
