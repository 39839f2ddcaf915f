"""
A connection to a workspace: twisted's client protocol behind a strict reader of heads.

Of chatfiles, this module alone touches private names of ``twisted.web._newclient`` (26.10), which
has no other way to

- judge an answer before its parser sees it, and refuse it (``_parser``, ``_everReceivedData``,
  ``_disconnectParser``, ``_transferDecoders``);
- notice octets behind an answer, which it drops (``_finishResponse``);
- end a body, or a connection, at once (``_transportProxy``, ``_giveUp``);
- take an answer that comes before the request is complete.  It would wait for the request to
  end, for ever if the peer reads no more, or lose the answer if the peer closes
  (``_state``, ``_responseDeferred``, ``_finishedRequest``, ``_currentRequest``).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, ITransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from twisted.web._newclient import HEADER, HTTP11ClientProtocol, Request
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IResponse

from chatfiles.http.chunked import ChunkedBody
from chatfiles.http.response_head import HeadScanner, ResponseHead
from chatfiles.platform.upstream.pool import ConnectionPool, ReadBudget
from chatfiles.streams.transports import SMALL_READ, TINY_READ, read_at_most

__all__ = ["ConnectionFactory", "IWatchfulBody", "OneRequest", "WorkspaceConnection"]

#: Fields that are not passed on: those of the connection, which are written anew from the verdict
#: where the parser needs them, and cookies, which the client above would keep.
_KEPT_BACK = frozenset(
    {
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-connection",
        b"set-cookie",
        b"set-cookie2",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


class IWatchfulBody(IBodyProducer):
    """A body that watches how much of it has been taken."""

    def sending_to(transport: ITransport) -> None:  # noqa: N805 — zope.interface
        """Where it goes; called before ``startProducing``."""


class OneRequest(Request):
    """
    A request, which may be sent twice if the first connection turns out to be dead.  One with a
    body is the last on its connection: an answer does not prove that the body has been taken.

    :param target: path and query.
    :param uri: the whole URL.
    :param sent: called with the transport when all of it has been handed to that.
    """

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: IBodyProducer | None,
        *,
        uri: bytes,
        sent: Callable[[ITransport], object],
    ) -> None:
        super().__init__(method, target, headers, body, persistent=body is None)
        self._uri = uri
        self._sent = sent
        self._stopped = False

    @property
    def absoluteURI(self) -> bytes:
        """The whole URL."""
        return self._uri

    def writeTo(self, transport: Any) -> Deferred[None]:
        """Write it to *transport*, and say so."""
        if IWatchfulBody.providedBy(self.bodyProducer):
            self.bodyProducer.sending_to(transport)
        written: Deferred[None] = super().writeTo(transport)
        return written.addCallbacks(self._written, self._unless_stopped, callbackArgs=(transport,))

    def stopWriting(self) -> None:
        """No more of the body is wanted."""
        self._stopped = True
        super().stopWriting()

    def _written(self, result: None, transport: ITransport) -> None:
        if not self._stopped:
            self._sent(transport)

    def _unless_stopped(self, failure: Failure) -> Failure | None:
        return None if self._stopped else failure


class WorkspaceConnection(HTTP11ClientProtocol):
    """
    One connection, for one request after another.

    :param key: of the workspaces that it reaches.
    :param plain: whether its transport is the bare TCP one.
    """

    def __init__(
        self,
        idle: ConnectionPool[WorkspaceConnection],
        sizes: ReadBudget,
        key: Hashable,
        *,
        plain: bool,
    ) -> None:
        super().__init__(idle.put)
        self.key = key
        self._idle = idle
        self._sizes = sizes
        self._plain = plain
        self._scanner: HeadScanner | None = None
        self._is_large = False
        self._read_size = SMALL_READ

    @property
    def usable(self) -> bool:
        """Whether a request can be made on it."""
        return bool(self.state == "QUIESCENT")

    @property
    def silent(self) -> bool:
        """Whether nothing has come of the answer that is being waited for."""
        parser: Any = self._parser
        return parser is not None and not parser._everReceivedData

    def hang_up(self) -> Deferred[None]:
        """Close it while it is idle; fires when it is closed."""
        closed: Deferred[None] = self.abort()
        if not self._plain:  # the other end may never answer the end of TLS
            self._wire.abortConnection()
        return closed

    def request(self, request: Request) -> Deferred[IResponse]:
        """
        Send *request*; see `HTTP11ClientProtocol.request` for what it may fail with.  An answer
        that is refused makes it fail with ``ResponseFailed``, which holds the `BadResponse`.
        """
        self._scanner = HeadScanner(request.method)
        answer: Deferred[IResponse] = super().request(request)
        proxy: Any = self._transportProxy

        def cut() -> None:
            # Twisted would wait for what is still to be sent, which the peer may never take.
            if proxy is self._transportProxy:
                self._wire.abortConnection()

        if proxy is not None:
            proxy.stopProducing = cut
        return answer

    def dataReceived(self, data: bytes) -> None:
        """Judge the head of an answer, and hand on the verdict; hand on its body as it is."""
        parser: Any = self._parser
        if parser is None:  # nothing was asked, so it cannot be an answer
            self._drop_dead()
            return
        try:
            if self._scanner is not None:
                parser._everReceivedData = True
                head = self._scanner.feed(data)
                if head is None:
                    return
                self._scanner = None
                self._begin_answer(parser, head)
                data = head.rest
            # An answer without a body is complete by now, and its parser done.
            if data and self._is_parsing_with(parser):
                if self._is_large:
                    self._resize_reads(self._sizes.size)
                parser.rawDataReceived(data)
        except Exception:
            self._refuse(Failure())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone; whoever waits for it is told."""
        self._idle.drop(self)
        self._end_body()
        super().connectionLost(reason)

    @property
    def _wire(self) -> Any:
        return self.transport

    def _begin_answer(self, parser: Any, head: ResponseHead) -> None:
        """Do what the parser would do with the lines of *head*, whose framing is settled."""
        self._stop_sending()
        parser.statusReceived(head.status_line)
        parser.state = HEADER
        headers: Headers = parser.headers
        for name, value in head.fields:
            if name not in _KEPT_BACK:
                headers.addRawHeader(name, value)
        if head.length is not None:
            parser.headerReceived(b"content-length", b"%d" % head.length)
        elif head.chunked:
            crowded = partial(self._resize_reads, TINY_READ)
            parser._transferDecoders = {b"chunked": partial(ChunkedBody, crowded=crowded)}
            parser.headerReceived(b"transfer-encoding", b"chunked")
        is_empty = not head.has_body or head.length == 0
        if not head.persistent or (is_empty and head.rest):
            parser.headerReceived(b"connection", b"close")
        # Not chunked ones: a large read of tiny chunks would keep everybody waiting.
        if self._plain and head.has_body and (head.length or 0) > SMALL_READ:
            self._is_large = True
            self._sizes.change(1)
        parser.allHeadersReceived()

    def _stop_sending(self) -> None:
        """An answer that comes before the request is complete ends the request."""
        request, answer, result = (
            self._currentRequest,
            self._responseDeferred,
            self._finishedRequest,
        )
        if self._state != "TRANSMITTING" or request is None or answer is None or result is None:
            return
        self._state = "WAITING"
        answer.chainDeferred(result)
        request.persistent = False
        request.stopWriting()
        self._wire.unregisterProducer()

    def _finishResponse(self, rest: bytes) -> None:
        """The answer is complete.  Nothing may follow it: nothing else has been asked."""
        if rest and self._currentRequest is not None:
            self._currentRequest.persistent = False
        self._end_body()
        super()._finishResponse(rest)

    def _giveUp(self, reason: Failure) -> None:
        """
        The connection is of no more use.  Twisted would wait for the rest of the request to leave,
        and for the other end to agree to the end of TLS: for ever, if that does nothing.
        """
        self._wire.abortConnection()
        self._disconnectParser(reason)

    def _refuse(self, failure: Failure) -> None:
        self._stop_sending()
        self._disconnectParser(failure)
        self._drop_dead()

    def _drop_dead(self) -> None:
        self.abort()  # marks it, so that nobody takes it meanwhile
        self._wire.abortConnection()

    def _is_parsing_with(self, parser: object) -> bool:
        return self._parser is parser

    def _end_body(self) -> None:
        if self._is_large:
            self._is_large = False
            self._sizes.change(-1)
        self._resize_reads(SMALL_READ)

    def _resize_reads(self, size: int) -> None:
        if size != self._read_size:
            self._read_size = size
            read_at_most(self._wire, size)


class ConnectionFactory(Factory):
    """
    Builds connections of one key.

    :param idle: where they wait for a next request.
    """

    noisy = False

    def __init__(
        self,
        idle: ConnectionPool[WorkspaceConnection],
        sizes: ReadBudget,
        key: Hashable,
        *,
        plain: bool,
    ) -> None:
        self._build = partial(WorkspaceConnection, idle, sizes, key, plain=plain)

    def buildProtocol(self, addr: IAddress | None) -> WorkspaceConnection:
        """:return: a connection for one transport."""
        return self._build()
