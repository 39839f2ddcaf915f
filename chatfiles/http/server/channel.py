"""
The part of a connection that a request of ``twisted.web`` uses: addresses, writing, back-pressure.

It connects one transport with the producer of one response body, and does not depend on HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IAddress, IPushProducer, ISSLTransport, ITCPTransport
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from chatfiles.streams.delivery_meter import DeliveryMeter
from chatfiles.streams.transports import (
    SMALL_READ,
    TINY_READ,
    hand_over,
    is_plain,
    read_at_most,
    send_now,
)

__all__ = ["Channel"]


@implementer(IPushProducer)
class Channel(Protocol):
    """
    The transport side of a connection.

    It is the transport's producer: the transport pauses it when the peer reads too slowly.

    :ivar peer: the address of the peer; ``None`` if it has none, as on a Unix socket.
    :ivar delivery: tells what the peer has taken.
    :ivar send_blocked: the send buffer is full, because the peer reads too slowly.
    :ivar received: bytes that have been received and not been handled.
    """

    peer: str | None = None

    def __init__(self) -> None:
        self.send_blocked = False
        self.received = b""
        self._producer: Any = None
        self._pulled = False
        self._read_size = SMALL_READ
        self._reading = True
        self._transport: Any = None

    def connectionMade(self) -> None:
        """The transport is connected."""
        transport: Any = self.transport
        self._transport = transport
        self.delivery = DeliveryMeter(transport)
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        transport.registerProducer(self, True)
        self._peer_address: IAddress = transport.getPeer()
        self._own_address: IAddress = transport.getHost()
        self.peer = getattr(self._peer_address, "host", None)

    def getPeer(self) -> IAddress:
        """:return: the address of the peer."""
        return self._peer_address

    def getHost(self) -> IAddress:
        """:return: the local address."""
        return self._own_address

    def isSecure(self) -> bool:
        """:return: whether the transport is TLS."""
        return ISSLTransport.providedBy(self.transport)

    def write(self, data: bytes) -> None:
        """
        :param data: bytes to send.
        """
        self.delivery.written += len(data)
        self._transport.write(data)

    def writeSequence(self, pieces: Sequence[bytes]) -> None:
        """
        :param pieces: bytes to send, in order.
        """
        self.delivery.written += sum(map(len, pieces))
        self._transport.writeSequence(pieces)

    def send_now(self, *pieces: bytes | bytearray) -> None:
        """
        :param pieces: bytes to send in order, as far as possible before this returns.
        """
        self.delivery.written += sum(map(len, pieces))
        send_now(self._transport, *pieces)

    def sent_directly(self, count: int) -> None:
        """:param count: so many bytes were passed to the socket, without the transport."""
        self.delivery.written += count

    def loseConnection(self) -> None:
        """Close the connection when everything written has been sent."""
        self._transport.unregisterProducer()  # otherwise the transport would wait for it
        self._transport.loseConnection()

    def resize_reads(self, size: int) -> None:
        """
        :param size: the most bytes of one read of the socket from now on.
        """
        if size != self._read_size and (size <= SMALL_READ or is_plain(self.transport)):
            self._read_size = size
            read_at_most(self.transport, size)

    def read_tiny_pieces(self) -> None:
        """Read only few bytes at a time from now on."""
        self.resize_reads(TINY_READ)

    def set_reading(self, reading: bool) -> None:
        """
        :param reading: whether to read from the socket from now on.
        """
        if reading is not self._reading:
            self._reading = reading
            if reading:
                self._transport.resumeProducing()
            else:
                self._transport.pauseProducing()

    def stop_sending(self) -> None:
        """
        Close the sending side when everything written has been sent.  Under TLS, which has no
        half-close, close the connection.
        """
        if is_plain(self.transport):
            self._transport.unregisterProducer()
            self._transport.loseWriteConnection()
        else:
            self.loseConnection()

    def reset(self) -> None:
        """
        Reset the connection.  First the written bytes, such as the headers of the response, are
        passed to the kernel, as far as it takes them at once.
        """
        transport = self._transport
        # A pull producer (not streaming) leaves nothing in Twisted's buffer.
        if is_plain(transport) and transport.connected and transport.streamingProducer:
            transport.doWrite()
        transport.abortConnection()

    def hand_over(self, protocol: Protocol) -> None:
        """
        Let another protocol use the transport from now on.  This connection ends, and its peer
        does not notice.

        :param protocol: receives what has been received already and not been handled.
        """
        transport, received, self.received = self._transport, self.received, b""
        transport.unregisterProducer()
        self.set_reading(True)
        self.connectionLost()
        hand_over(transport, protocol)
        if received:
            protocol.dataReceived(received)

    # -- the producer of a response body

    def record_delivery(self) -> None:
        """Remember what the peer has taken: the connection was lost."""
        self.delivery.record()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        :param producer: produces the body of a response.
        :param streaming: whether the producer is paused and resumed; otherwise it is called
            whenever everything has been sent.
        :raise RuntimeError: another producer is registered.
        """
        if self._producer is not None:
            raise RuntimeError(f"{producer} cannot replace {self._producer}")
        self._producer, self._pulled = producer, not streaming
        if not streaming:
            self._transport.unregisterProducer()
            self._transport.registerProducer(producer, False)
        elif self.send_blocked:  # TLS says it only once: earlier responses fill the buffer
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """The producer has produced the whole body."""
        self._producer = None
        if self._pulled:
            self._pulled = False
            self._transport.unregisterProducer()
            self._transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """The send buffer is full."""
        self.send_blocked = True
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """The send buffer is empty."""
        self.send_blocked = False
        if self._producer is not None:
            self._producer.resumeProducing()

    def stopProducing(self) -> None:
        """The connection is lost; the transport calls this while it still has its socket."""
        self.record_delivery()
        if self._producer is not None:
            self._producer.stopProducing()
