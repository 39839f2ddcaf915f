"""
A connection to a workspace: an HTTP/1.1 client that accepts only responses whose end is certain.

It does not use Twisted's parser.  ``twisted.web.client`` has no public way to validate headers
before they are parsed, to notice bytes after a response, to abort at once, or to take a response
that comes before the request is complete.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import StrEnum
from typing import Any
from typing import Protocol as Interface

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed

from chatfiles.http.chunked import ChunkedDecoder
from chatfiles.http.message_head.response import BadResponse, HeadScanner, ResponseHead
from chatfiles.platform.upstream.request import UpstreamRequest
from chatfiles.platform.upstream.response import COMPLETE, UpstreamResponse
from chatfiles.streams.memory_budget import MemoryBudget
from chatfiles.streams.splice import SpliceSource
from chatfiles.streams.transports import (
    SMALL_READ,
    TINY_READ,
    is_plain,
    read_at_most,
    unsent_here,
)

__all__ = [
    "DIAL",
    "FIRST_READ",
    "TRANSITIONS",
    "Event",
    "Keeper",
    "NoResponse",
    "Receiver",
    "State",
    "WorkspaceConnection",
]


#: How a workspace is reached, for the logs: over a connection that the platform makes.
DIAL = "dial"
#: Bytes of one read, unless a large body is read: a small file of our workspace with its headers.
FIRST_READ = SMALL_READ + 8 * 1024


class State(StrEnum):
    """What a connection is doing."""

    IDLE = "no request; it may be kept for the next one"
    SENDING = "the request is being written"
    WAITING = "the request is written, the head of the response is not complete"
    BODY = "the body of the response is being received"
    CLOSING = "aborted or closed by us; nothing more is read"
    CLOSED = "gone"


class Event(StrEnum):
    """What changes the state."""

    REQUEST = "a request was made"
    SENT = "the request has been written as a whole"
    HEAD = "the head of the final response is complete; a request still being written is stopped"
    END = "the response is complete, and the connection may be used again"
    ABORT = "a bad or last response, unexpected bytes, a failure or cancellation of ours"
    LOST = "the transport is gone"


#: All transitions: a state, an event, and the next state.
TRANSITIONS = (
    (State.IDLE, Event.REQUEST, State.SENDING),
    (State.SENDING, Event.SENT, State.WAITING),
    (State.SENDING, Event.HEAD, State.BODY),
    (State.WAITING, Event.HEAD, State.BODY),
    (State.BODY, Event.END, State.IDLE),
    (State.IDLE, Event.ABORT, State.CLOSING),
    (State.SENDING, Event.ABORT, State.CLOSING),
    (State.WAITING, Event.ABORT, State.CLOSING),
    (State.BODY, Event.ABORT, State.CLOSING),
    (State.IDLE, Event.LOST, State.CLOSED),
    (State.SENDING, Event.LOST, State.CLOSED),
    (State.WAITING, Event.LOST, State.CLOSED),
    (State.BODY, Event.LOST, State.CLOSED),
    (State.CLOSING, Event.LOST, State.CLOSED),
)
_NEXT = {(state, event): then for state, event, then in TRANSITIONS}
_UNANSWERED = (State.SENDING, State.WAITING)
_ENDED = (State.CLOSING, State.CLOSED)


class NoResponse(Exception):
    """The connection was lost, or could not be used, before the first byte of a response."""


class Receiver(Interface):
    """Receives the result of a request.  Either `answered` or `failed` is called, once."""

    def sent(self, connection: WorkspaceConnection, /) -> None:
        """The whole request has been written, and no response has begun."""

    def answered(self, connection: WorkspaceConnection, response: UpstreamResponse, /) -> None:
        """The headers of the response are complete."""

    def failed(self, connection: WorkspaceConnection, failure: Failure, /) -> None:
        """
        There is no response.

        :param failure:

            - `NoResponse`: the connection was lost before the first byte;
            - `BadResponse`: the response is malformed, or its headers were interrupted;
            - the error with which the body of the request failed.
        """


class Keeper(Interface):
    """
    Keeps connections while they are idle.

    :ivar open: number of connections that exist, whether idle or not.
    """

    open: int

    def put(self, connection: Any, /) -> object:
        """Keep a connection whose last response is complete."""

    def drop(self, connection: Any, /) -> object:
        """A connection is lost."""


class WorkspaceConnection(Protocol):
    """
    One connection, for one request after another.

    :cvar via: how the workspace is reached, for the logs.
    :param pool: keeps the connection while it is idle.
    :param budget: decides how many bytes one read of a large body takes.
    :param key: equal for all connections to the same origin.
    :param plain: whether its transport is TCP without TLS.
    :ivar left: bytes of the body to come, when it is not chunked.
    """

    via: str = DIAL

    def __init__(
        self,
        pool: Keeper,
        budget: MemoryBudget,
        key: Hashable,
        *,
        plain: bool,
    ) -> None:
        self.key = key
        self.state = State.IDLE
        self._pool = pool
        self._budget = budget
        self._plain = plain
        self._request: UpstreamRequest | None = None
        self._receiver: Receiver | None = None
        self._scanner: HeadScanner | None = None
        self._head: ResponseHead | None = None
        self._response: UpstreamResponse | None = None
        self._chunks: ChunkedDecoder | None = None
        self.left = 0
        self._received = False
        self._paused = False
        self._is_large = False
        self._read_size = SMALL_READ
        self._wire: Any = None
        self._closed: list[Deferred[None]] = []

    @property
    def usable(self) -> bool:
        """Whether a request can be made on it."""
        return self.state is State.IDLE

    @property
    def is_closed(self) -> bool:
        """Whether no request can be made on it any more."""
        return self.state in _ENDED

    @property
    def silent(self) -> bool:
        """Whether it waits for a response of which no byte has arrived."""
        return self.state in _UNANSWERED and not self._received

    def disconnect(self) -> Deferred[None]:
        """
        Close the connection while it is idle.

        :return: fires when it is closed.
        """
        if self.state is State.CLOSED:
            return succeed(None)
        closed: Deferred[None] = Deferred()
        self._closed.append(closed)
        if self._plain and self.state is State.IDLE:
            self._move(Event.ABORT)
            self._wire.loseConnection()
        else:  # the peer may never confirm the end of TLS
            self._abort()
        return closed

    def request(self, request: UpstreamRequest, receiver: Receiver) -> None:
        """
        Send *request*.

        :param receiver: receives the result, unless the request is cancelled.
        """
        if self.state is not State.IDLE:
            receiver.failed(self, Failure(NoResponse()))
            return
        self._move(Event.REQUEST)
        self._request, self._receiver = request, receiver
        self._received = False
        self._scanner = HeadScanner(request.method)
        request.write_to(self._wire, self._sent, self._fail)

    def cancel(self) -> None:
        """Abort, without a result of the request, which must not have one yet."""
        self._receiver = None
        self._fail(Failure(NoResponse()))

    def give_up(self) -> None:
        """Abort; the request fails, or its response ends as interrupted."""
        self._fail(Failure(NoResponse()))

    def _sent(self) -> None:
        self._move(Event.SENT)
        if self._receiver is not None:
            self._receiver.sent(self)

    # -- from the transport

    def connectionMade(self) -> None:
        """Turn off Nagle's algorithm, so that small requests are sent at once."""
        self._pool.open += 1
        self._wire = self.transport
        self._resize_reads(FIRST_READ)
        if ITCPTransport.providedBy(self.transport):
            self._wire.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        """Validate and read the headers of a response, then deliver its body."""
        if self.state is State.IDLE:  # bytes without a request are not a response
            self._abort()
        try:
            if self.state in _UNANSWERED:
                data = self._read_head(data)
            if data and self.state is State.BODY:
                self._read_body(data)
        except Exception:
            self._fail(Failure())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is closed: end the request and the response with an error."""
        before = self.state
        self._pool.open -= 1
        self._pool.drop(self)
        self._move(Event.LOST)
        if before is State.WAITING and self._received:
            self._end_request(Failure(BadResponse("interrupted within the headers")))
        else:
            lost = NoResponse()
            lost.__cause__ = reason.value
            self._end_request(Failure(lost))
        self._end_response(Failure(ResponseFailed([reason])))
        closed, self._closed = self._closed, []
        for waiting in closed:
            waiting.callback(None)

    # -- for the response (IPushProducer)

    def pauseProducing(self) -> None:
        """Pause reading."""
        self._paused = True
        self._wire.pauseProducing()

    def resumeProducing(self) -> None:
        """Resume reading."""
        if self._paused and self.state not in _ENDED:
            self._paused = False
            self._wire.resumeProducing()

    def stopProducing(self) -> None:
        """Abort: the rest of the body is not needed, and may never come."""
        self._abort()

    def splice_source(self) -> SpliceSource | None:
        """:return: this connection, if the rest of the body may be read from its socket."""
        wire = self._wire
        is_read_as_sent = self.state is State.BODY and self._chunks is None and is_plain(wire)
        return self if is_read_as_sent and not unsent_here(wire) else None

    def spliced(self, count: int) -> None:
        """:param count: so many bytes of the body were read from the socket."""
        self.left -= count

    # -- a response

    def _read_head(self, data: bytes) -> bytes:
        """:return: the bytes of *data* that belong to the body."""
        self._received = True
        assert self._scanner is not None
        assert self._request is not None
        head = self._scanner.feed(data)
        if head is None:
            if self._scanner.continued:
                self._request.continued()
            return b""
        if self.state is State.SENDING:
            self._request.stop()
        self._move(Event.HEAD)
        self._head = head
        response = self._response = UpstreamResponse(head, self._request, self, self.via)
        length = (head.length or 0) if head.has_body else 0
        if len(head.rest) >= length and not (head.has_body and head.chunked):
            if length:
                response.body_received(head.rest[:length])
            self._complete(head.rest[length:])
            self._answer(response)
            return b""
        self._begin_body(head)
        self._answer(response)
        return head.rest

    def _answer(self, response: UpstreamResponse) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.answered(self, response)

    def _begin_body(self, head: ResponseHead) -> None:
        self._chunks = ChunkedDecoder() if head.chunked else None
        self.left = head.length or 0
        self._expect(self.left)
        if head.chunked or len(head.rest) < self.left:
            self.pauseProducing()  # until the body is delivered

    def _read_body(self, data: bytes) -> None:
        response, chunks = self._response, self._chunks
        assert response is not None
        if chunks is None:
            if self._is_large:
                self._resize_reads(self._budget.size)
            body, rest = data[: self.left], data[self.left :]
            self.left -= len(body)
            is_complete = not self.left
        else:
            body = chunks.feed(data)
            rest, is_complete = chunks.rest, chunks.complete
            if chunks.crowded:
                self._resize_reads(TINY_READ)
            elif self._read_size != TINY_READ:
                # Not beyond the chunk: a large read of tiny ones would delay other connections.
                self._expect(chunks.left)
                if self._is_large:
                    self._resize_reads(max(FIRST_READ, min(chunks.left, self._budget.size)))
        if body:
            response.body_received(body)
        if is_complete and self._response is response:
            self._complete(rest)

    def _complete(self, rest: bytes) -> None:
        """
        The response is complete.

        :param rest: bytes after the response.  They belong to no request, so a connection with such
            bytes is not used again.
        """
        request, head = self._request, self._head
        wants_more = request is not None and request.persistent
        allows_more = head is not None and head.persistent
        if wants_more and allows_more and not rest and self.state is State.BODY:
            self._move(Event.END)
            if self._paused:
                self.resumeProducing()  # otherwise the end of an idle connection is not noticed
            self._pool.put(self)
        else:
            self._abort()
        self._request = self._head = None
        self._end_response(COMPLETE)

    # -- ends

    def _move(self, event: Event) -> None:
        self.state = _NEXT[self.state, event]

    def _abort(self) -> None:
        """Close at once: unsent bytes, or the peer's end of TLS, could delay it for ever."""
        if self.state not in _ENDED:
            self._move(Event.ABORT)
            self._wire.abortConnection()

    def _fail(self, failure: Failure) -> None:
        """
        Abort the connection.

        :param failure: why.
        """
        self._abort()
        self._end_request(failure)
        self._end_response(Failure(ResponseFailed([failure])))

    def _end_request(self, failure: Failure) -> None:
        request, self._request = self._request, None
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.failed(self, failure)
        if request is not None:
            request.stop()

    def _end_response(self, reason: Failure) -> None:
        if self._is_large or self._read_size != FIRST_READ:
            self._stop_large_reads()
        response, self._response = self._response, None
        if response is not None:
            response.body_ended(reason)

    # -- the size of reads

    def _expect(self, left: int) -> None:
        """:param left: so many bytes of the body, or of one chunk of it, come next."""
        if self._plain and left > SMALL_READ and not self._is_large:
            self._is_large = True
            self._budget.change(1)

    def _stop_large_reads(self) -> None:
        if self._is_large:
            self._is_large = False
            self._budget.change(-1)
        self._resize_reads(FIRST_READ)

    def _resize_reads(self, size: int) -> None:
        if size != self._read_size:
            self._read_size = size
            read_at_most(self._wire, size)
