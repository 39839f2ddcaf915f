"""
Relays the middle of a large body with ``splice``: the kernel moves the bytes from the upstream's
connection to the client's, and none of them comes into this process.

A `Splice` stands beside a `BodyRelay`, which relays the beginning and the end of the body.  So the
relay and the upstream's connection decide, as for any other body, whether it is complete, and what
happens to the connections.  If a connection fails or ends, the splice lets the relay continue,
which then finds that out itself.

While a splice runs, the upstream's transport reads nothing: the splice is registered with the
reactor in its place.  The client's transport calls it as a pull producer when it can send.
"""

from __future__ import annotations

import socket
from typing import Any, Protocol

from twisted.internet.interfaces import (
    ILoggingContext,
    IPullProducer,
    IReactorFDSet,
    IReadDescriptor,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from chatfiles.streams.in_flight import in_flight_limit, unspliced_rest
from chatfiles.streams.pipe import Pipe, Pipes
from chatfiles.streams.transports import SMALL_READ, is_plain

__all__ = ["Relay", "Splice", "SpliceSource", "Splicer"]

#: The least bytes of a body for which a pipe is opened.
WORTHWHILE = 1024 * 1024


class SpliceSource(Protocol):
    """The connection of an upstream, whose transport is a bare TCP socket."""

    @property
    def transport(self) -> Any:
        """Its transport."""

    @property
    def left(self) -> int:
        """Bytes of the body that have not been read."""

    def spliced(self, count: int, /) -> None:
        """:param count: so many bytes of the body were read from the socket."""


class Relay(Protocol):
    """The relay of the body."""

    received: int
    paused: bool
    splice: Any

    def dataReceived(self, data: bytes, /) -> None:
        """Send bytes to the client."""

    def pauseProducing(self) -> None:
        """Apply back-pressure to the upstream."""


@implementer(IReadDescriptor, IPullProducer, ILoggingContext)
class Splice:
    """
    Moves bytes until only the last ones are left, or until a connection ends.

    :param source: the upstream's connection.
    :param channel: the client's connection; its transport is a bare TCP socket.
    :param relay: continues when the splice has ended.
    :param pipes: opened *pipe*, and closes it.
    :param pipe: is empty.
    :param rest: number of bytes at the end that are left to the relay, at least one: the connection
        has to notice the end of the body.
    """

    def __init__(
        self, source: SpliceSource, channel: Any, relay: Relay, pipes: Pipes, pipe: Pipe, rest: int
    ) -> None:
        self._source = source
        self._channel = channel
        self._relay = relay
        self._pipes = pipes
        self._pipe = pipe
        self._rest = rest
        self._reactor: IReactorFDSet = source.transport.reactor
        self._to: Any = channel.transport
        # A transport of Twisted has no handle any more once it is closed.
        self._from_socket: socket.socket = source.transport.getHandle()
        self._to_socket: socket.socket = channel.transport.getHandle()
        self._started = self._ended = self._reading = False

    def start(self) -> None:
        """Begin when the client's transport has sent what is in its buffer."""
        self._relay.pauseProducing()
        # The channel is the transport's producer; it is registered again at the end.
        self._to.unregisterProducer()
        self._to.registerProducer(self, False)
        self._started = True
        self._wait_for_client()

    def stop(self) -> None:
        """Stop; idempotent.  The bytes in the pipe are lost: the transfer has failed."""
        if self._ended:
            return
        self._ended = True
        self._stop_reading()
        if self._to.producer is self:
            self._to.unregisterProducer()
            if not self._to.disconnected:
                self._to.registerProducer(self._channel, True)
        self._pipes.close(self._pipe)
        self._relay.splice = None  # breaks the reference cycle

    # -- for the reactor

    def fileno(self) -> int:
        """:return: the descriptor of the upstream's socket; -1 if it is closed."""
        return self._from_socket.fileno()

    def logPrefix(self) -> str:
        """:return: the name in the log."""
        return type(self).__name__

    def doRead(self) -> None:
        """The upstream has sent bytes."""
        self._move()

    def connectionLost(self, reason: Failure) -> None:
        """The upstream's socket has failed."""
        self._reading = False
        self._continue_relay()

    # -- for the client's transport

    def resumeProducing(self) -> None:
        """It can send more.  (At registration there may be bytes in its buffer.)"""
        if self._started and not self._ended:
            self._move()

    def stopProducing(self) -> None:
        """It is closed, which also ends the transfer."""
        self._channel.record_delivery()
        self.stop()

    # -- moving

    def _move(self) -> None:
        try:
            # One pipe, then other connections have their turn: more would delay small requests.
            if self._fill() and self._drain():
                self._wait_for_upstream()
        except OSError:
            self._continue_relay()

    def _fill(self) -> bool:
        """:return: whether there are bytes in the pipe."""
        if self._pipe.held:
            return True
        most = self._source.left - self._rest
        try:
            count = self._pipe.fill(self._from_socket, most) if most > 0 else 0
        except BlockingIOError:
            self._wait_for_upstream()
            return False
        if not count:
            self._continue_relay()
            return False
        self._source.spliced(count)
        return True

    def _drain(self) -> bool:
        """:return: whether the client's socket has taken all bytes in the pipe."""
        count = self._pipe.drain(self._to_socket)
        self._channel.sent_directly(count)
        self._relay.received += count
        if self._pipe.held:
            self._wait_for_client()
            return False
        return True

    def _wait_for_upstream(self) -> None:
        self._relay.paused = False
        if not self._reading:
            self._reading = True
            self._reactor.addReader(self)

    def _wait_for_client(self) -> None:
        self._relay.paused = True
        self._stop_reading()
        if not self._to.disconnected:
            self._to.startWriting()

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._reactor.removeReader(self)

    # -- the end

    def _continue_relay(self) -> None:
        """Let the relay continue, with what is in the pipe."""
        data = self._pipe.take()
        self.stop()
        if data:
            self._relay.dataReceived(data)
        if not self._to.disconnected:
            self._channel.resumeProducing()


class Splicer:
    """
    Begins splices.

    :param pipes: opens the pipes.
    :param in_flight: see `chatfiles.streams.in_flight.in_flight_limit`.
    """

    def __init__(self, pipes: Pipes | None = None, in_flight: int | None = None) -> None:
        self._pipes = Pipes() if pipes is None else pipes
        in_flight = in_flight_limit() if in_flight is None else in_flight
        self._rest_for_proxy = unspliced_rest(in_flight)

    def begin(
        self, source: SpliceSource | None, channel: Any, relay: Relay, *, to_proxy: bool
    ) -> None:
        """
        Splice the middle of a body, if it is large and both connections allow it.

        :param source: the connection that it comes from; ``None`` if its bytes have to be parsed.
        :param channel: the client's connection; the headers of the response have been written.
        :param relay: relays the body now; it continues when the splice has ended.
        :param to_proxy: whether the client is a proxy.
        """
        rest = self._rest_for_proxy if to_proxy else SMALL_READ
        if source is None or source.left - rest < WORTHWHILE or not is_plain(channel.transport):
            return
        if not IReactorFDSet.providedBy(source.transport.reactor):
            return
        pipe = self._pipes.open()
        if pipe is not None:
            relay.splice = Splice(source, channel, relay, self._pipes, pipe, rest)
            relay.splice.start()
