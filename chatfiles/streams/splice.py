"""
Relays the middle of a large body with ``splice``: the kernel moves the bytes from one connection to
another, and none of them comes into this process.

A `Splice` stands beside a `Relay`, which relays the beginning and the end of the body.  So the
relay and the connection that the body comes from decide, as for any other body, whether it is
complete, and what happens to the connections.  If a connection fails or ends, the splice lets the
relay continue, which then finds that out itself.

While a splice runs, it reads in place of the source's transport: whenever that would read.  The
other transport calls it as a pull producer when it can send.
"""

from __future__ import annotations

import socket
from typing import Any, Protocol

from twisted.internet.interfaces import IPullProducer, IReactorFDSet
from zope.interface import implementer

from chatfiles.streams.in_flight import in_flight_limit, unspliced_rest
from chatfiles.streams.pipe import Pipe, Pipes
from chatfiles.streams.transports import SMALL_READ, is_plain, read_as_usual, read_with

__all__ = ["Relay", "Splice", "SpliceSource", "Splicer"]

#: The least bytes of a body for which a pipe is opened.
WORTHWHILE = 1024 * 1024


class SpliceSource(Protocol):
    """The connection that a body comes from, whose transport is a bare TCP socket."""

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

    splice: Any

    def moved(self, count: int, /) -> None:
        """:param count: so many bytes of the body were sent."""

    def pauseProducing(self) -> None:
        """Apply back-pressure to the source."""

    def resumeProducing(self) -> None:
        """End the back-pressure."""


@implementer(IPullProducer)
class Splice:
    """
    Moves bytes until only the last ones are left, or until a connection ends.

    :param source: the connection that they come from.
    :param to: the transport that they are sent to; a bare TCP socket.
    :param producer: produces for *to* before and after the splice.
    :param relay: continues when the splice has ended.
    :param pipes: opened *pipe*, and closes it.
    :param pipe: is empty.
    :param rest: number of bytes at the end that are left to the relay, at least one: the source
        has to notice the end of the body.
    """

    def __init__(
        self,
        source: SpliceSource,
        to: Any,
        producer: Any,
        relay: Relay,
        pipes: Pipes,
        pipe: Pipe,
        rest: int,
    ) -> None:
        self._source = source
        self._from = source.transport
        self._to = to
        self._producer = producer
        self._relay = relay
        self._pipes = pipes
        self._pipe = pipe
        self._rest = rest
        # A transport of Twisted has no handle any more once it is closed.
        self._from_socket: socket.socket = self._from.getHandle()
        self._to_socket: socket.socket = to.getHandle()
        self._started = self._ended = self._reading = False

    def start(self) -> None:
        """Begin when the target's transport has sent what is in its buffer."""
        read_with(self._from, self._move)
        self._relay.pauseProducing()
        self._to.unregisterProducer()
        self._to.registerProducer(self, False)
        self._started = True
        self._wait_for_target()

    def stop(self) -> None:
        """Stop; idempotent.  The bytes in the pipe are lost: the transfer has failed."""
        if self._ended:
            return
        self._ended = True
        read_as_usual(self._from, self._move)
        if self._to.producer is self:
            self._to.unregisterProducer()
            if not self._to.disconnected:
                self._to.registerProducer(self._producer, True)
        self._pipes.close(self._pipe)
        self._relay.splice = None  # breaks the reference cycle

    # -- for the target's transport

    def resumeProducing(self) -> None:
        """It can send more.  (At registration there may be bytes in its buffer.)"""
        if self._started and not self._ended:
            self._move()

    def stopProducing(self) -> None:
        """It is closed, which also ends the transfer."""
        self.stop()
        self._producer.stopProducing()

    # -- moving

    def _move(self) -> None:
        try:
            # One pipe, then other connections have their turn: more would delay small requests.
            if self._fill() and self._drain():
                self._wait_for_source()
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
            if self._reading:  # TCP urgent data is next: only ``recv`` passes over it
                self._continue_relay()
            else:
                self._wait_for_source()
            return False
        if not count:
            self._continue_relay()
            return False
        self._source.spliced(count)
        return True

    def _drain(self) -> bool:
        """:return: whether the target's socket has taken all bytes in the pipe."""
        self._relay.moved(self._pipe.drain(self._to_socket))
        if self._pipe.held:
            self._wait_for_target()
            return False
        return True

    def _wait_for_source(self) -> None:
        if not self._reading:
            self._reading = True
            self._relay.resumeProducing()

    def _wait_for_target(self) -> None:
        if self._reading:
            self._reading = False
            self._relay.pauseProducing()
        if not self._to.disconnected:
            self._to.startWriting()

    # -- the end

    def _continue_relay(self) -> None:
        """Let the relay continue, behind what is in the pipe."""
        data = self._pipe.take()
        self.stop()
        if data:
            self._to.write(data)
            self._relay.moved(len(data))
        if not self._to.disconnected:
            self._producer.resumeProducing()


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
        self,
        source: SpliceSource | None,
        to: Any,
        producer: Any,
        relay: Relay,
        *,
        to_proxy: bool = False,
    ) -> None:
        """
        Splice the middle of a body, if it is large and both connections allow it.

        :param source: the connection that it comes from; ``None`` if its bytes have to be parsed.
        :param to: the transport that it is sent to; what precedes the body has been written.
        :param producer: produces for *to*, and does so again when the splice has ended.
        :param relay: relays the body now; it continues when the splice has ended.
        :param to_proxy: whether the body is a file for a proxy.
        """
        rest = self._rest_for_proxy if to_proxy else SMALL_READ
        if source is None or source.left - rest < WORTHWHILE:
            return
        if not (is_plain(source.transport) and is_plain(to)):
            return
        if not IReactorFDSet.providedBy(source.transport.reactor):
            return
        pipe = self._pipes.open()
        if pipe is not None:
            relay.splice = Splice(source, to, producer, relay, self._pipes, pipe, rest)
            relay.splice.start()
