"""
One request and its response on a connection of its own.

The bytes of the response pass through an `Exchange`, which checks its headers with h11, like the
client that blocks.  It recognizes a response that comes before the request was sent: then the
request ends, and the response is read here, because Twisted's client could wait for ever.
"""

from __future__ import annotations

from typing import Any

import h11
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from chatfiles.client.core.errors import BadAnswer

__all__ = ["EarlyResponse", "Exchange", "Watched"]

#: Maximum bytes of a response's headers, and of the body of an early one.
HEAD_LIMIT, BODY_LIMIT = 64 * 1024, 64 * 1024
#: The most interim responses (1xx) before a response.
INTERIM_LIMIT = 1000


class EarlyResponse:
    """
    A response that came before the request was sent.

    :ivar begun: its status and headers.
    :ivar body: its body, perhaps not all of it.
    """

    def __init__(self, begun: h11.Response, body: bytes) -> None:
        self.begun = begun
        self.body = body


class Exchange:
    """
    What is known of one request.

    :param method: of the request.
    :ivar early: is called with an `EarlyResponse`, if there is one.
    :ivar cancelled: whether the program has cancelled it.
    :ivar fault: what is wrong with the response.
    :ivar was_connected: whether there was a connection, as far as is known.
    :ivar framed: whether the end of the response can be distinguished from an interruption.
    """

    def __init__(self, method: str) -> None:
        self.early: Deferred[EarlyResponse] = Deferred()
        self._ended: Deferred[None] = Deferred()
        self.fault: BadAnswer | None = None
        self.cancelled = False
        self.framed = True
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
        # h11 only needs the method: it determines whether a response has a body.
        self._http.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
        self._head: h11.Response | None = None
        self._interim = 0
        self._sending = True
        self._is_early = False
        self._withheld = b""
        self._body = bytearray()
        self._connection: _Connection | None = None
        self.was_connected = False

    # -- the request

    def sent(self) -> None:
        """The request was sent completely."""
        self._sending = False
        withheld, self._withheld = self._withheld, b""
        if withheld and not self._is_early and self._connection is not None:
            self._connection.inner.dataReceived(withheld)

    def abort(self) -> bool:
        """
        End the connection.

        :return: whether there is one.
        """
        connection = self._connection
        if connection is not None:
            connection.abort()
        return connection is not None

    def ended(self) -> Deferred[None]:
        """:return: is called when there is no connection."""
        return succeed(None) if self._connection is None else self._ended

    # -- the response

    def connected(self, connection: _Connection) -> None:
        """There is a connection."""
        self._connection = connection
        self.was_connected = True

    def received(self, data: bytes) -> bytes:
        """
        Check bytes of the response.

        :return: the bytes to pass on.
        """
        if self._head is not None and not self._is_early:
            return data
        try:
            self._parse(data)
        except h11.RemoteProtocolError as error:
            self._fail(str(error))
            return b""
        if not self._sending:
            return data
        self._withheld += b"" if self._is_early else data
        return b""

    def lost(self) -> None:
        """The connection has ended."""
        if self._head is None and self.fault is None:
            self.fault = self._why_no_head()
        if self._is_early:
            self._deliver()
        self._connection = None
        self._ended.callback(None)

    def _why_no_head(self) -> BadAnswer | None:
        """:return: the error for a connection that has ended before the headers did, if any."""
        if len(self._http.trailing_data[0]) >= LineReceiver.MAX_LENGTH:  # so Twisted has ended it
            return BadAnswer("the response has a header that is too long")
        return BadAnswer("only interim responses came") if self._interim else None

    def _parse(self, data: bytes) -> None:
        self._http.receive_data(data)
        while self._head is None or self._is_early:
            event = self._http.next_event()
            if isinstance(event, h11.InformationalResponse):
                self._interim += 1
                if self._interim > INTERIM_LIMIT:
                    raise h11.RemoteProtocolError("too many interim responses")
            elif isinstance(event, h11.Response):
                self._begin(event)
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > BODY_LIMIT:
                    return self._deliver()
            elif isinstance(event, h11.EndOfMessage):
                return self._deliver()
            else:
                return None
        return None

    def _begin(self, head: h11.Response) -> None:
        self._head = head
        self._is_early = self._sending
        names = [bytes(name) for name, _ in head.headers]
        counted, coded = b"content-length" in names, b"transfer-encoding" in names
        if counted and coded:
            raise h11.RemoteProtocolError("the end of the response is given in two ways")
        self.framed = counted or coded or head.status_code in (204, 304)

    def _deliver(self) -> None:
        if not self.early.called:
            assert self._head is not None
            self.early.callback(EarlyResponse(self._head, bytes(self._body)))

    def _fail(self, why: str) -> None:
        self.fault = BadAnswer(f"the response is no valid HTTP response: {why}")
        self.abort()


class _Connection(Protocol):
    """Passes the bytes of a connection through an `Exchange`."""

    transport: Any

    def __init__(self, exchange: Exchange, inner: Any) -> None:
        self._exchange = exchange
        self.inner = inner

    def connectionMade(self) -> None:
        """See `Protocol`."""
        self._exchange.connected(self)
        self.inner.makeConnection(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """See `Protocol`."""
        if passed := self._exchange.received(data):
            self.inner.dataReceived(passed)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See `Protocol`."""
        self._exchange.lost()
        self.inner.connectionLost(reason)

    def abort(self) -> None:
        """End the connection."""
        self.transport.abortConnection()


class _Connections(Factory):
    def __init__(self, exchange: Exchange, inner: IProtocolFactory) -> None:
        self._exchange = exchange
        self._inner = inner

    def buildProtocol(self, addr: Any) -> _Connection:
        return _Connection(self._exchange, self._inner.buildProtocol(addr))


@implementer(IStreamClientEndpoint)
class Watched:
    """
    An endpoint whose connection passes its bytes through an `Exchange`.

    :param endpoint: connects.
    """

    def __init__(self, endpoint: IStreamClientEndpoint, exchange: Exchange) -> None:
        self._endpoint = endpoint
        self._exchange = exchange

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See `IStreamClientEndpoint`."""
        connecting: Deferred[Any] = self._endpoint.connect(
            _Connections(self._exchange, protocolFactory)
        )
        return connecting.addCallback(lambda connection: connection.inner)
