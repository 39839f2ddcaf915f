"""
Bodies of requests and responses in the reactor, with back-pressure in both directions.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

__all__ = ["BodyReader", "PieceProducer"]

#: Bytes of a response that wait for the client before the server has to wait.
BUFFER = 256 * 1024


class BodyReader(Protocol):
    """
    Receives the body of a response.

    :ivar ended: why there are no more bytes; ``None`` before the end.
    """

    transport: Any

    def __init__(self) -> None:
        self.ended: Failure | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._paused = False
        self._waiting: Deferred[None] | None = None

    def available(self) -> Deferred[None]:
        """:return: is called when there are bytes, or at the end."""
        if self._pieces or self.ended is not None:
            return succeed(None)
        self._waiting = Deferred()
        return self._waiting

    def take(self) -> bytes:
        """:return: the bytes that have arrived."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()
        return data

    @property
    def is_complete(self) -> bool:
        """Whether the body has ended as its headers said."""
        return self.ended is not None and self.ended.check(ResponseDone) is not None

    @property
    def is_unframed(self) -> bool:
        """Whether the body has ended with the connection, as its headers said."""
        return self.ended is not None and self.ended.check(PotentialDataLoss) is not None

    def dataReceived(self, data: bytes) -> None:
        """See `Protocol`."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= BUFFER and not self._paused:
            self._paused = True
            self.transport.pauseProducing()
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See `Protocol`."""
        self.ended = reason
        self._wake()

    def stop(self) -> None:
        """Receive no more."""
        if self.ended is None and self.transport is not None:
            self.transport.stopProducing()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)


@implementer(IBodyProducer)
class PieceProducer:
    """
    Sends the pieces of an iterator.

    :param length: bytes of the body; ``None`` if they are not known.
    :param pieces: gives them; each is at least one byte.
    :param progressed: is called when the connection takes a piece.
    :param sent: is called when all were sent.
    :ivar failure: what the iterator has raised.
    """

    def __init__(
        self,
        length: int | None,
        pieces: AsyncGenerator[bytes, None],
        progressed: Callable[[], object],
        sent: Callable[[], object],
    ) -> None:
        self.length: Any = UNKNOWN_LENGTH if length is None else length
        self.failure: BaseException | None = None
        self._pieces = pieces
        self._progressed = progressed
        self._sent = sent
        self._running: Deferred[None] | None = None
        self._done: Deferred[None] | None = None
        self._resumed: Deferred[None] | None = None
        self._paused = False

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """See `IBodyProducer`."""
        done: Deferred[None] = Deferred(lambda _: self.stopProducing())
        self._done = done
        self._running = Deferred.fromCoroutine(self._produce(consumer))
        self._running.addCallbacks(self._end, self._fail)
        return done

    def pauseProducing(self) -> None:
        """See `IBodyProducer`."""
        self._paused = True

    def resumeProducing(self) -> None:
        """See `IBodyProducer`."""
        self._paused = False
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            resumed.callback(None)

    def stopProducing(self) -> None:
        """See `IBodyProducer`: what `startProducing` has returned is not called any more."""
        self._done = None
        running, self._running = self._running, None
        if running is not None:
            running.cancel()

    async def _produce(self, consumer: Any) -> None:
        try:
            async for piece in self._pieces:
                if self._done is None:
                    return
                self._progressed()
                consumer.write(piece)
                if self._paused:
                    self._resumed = Deferred()
                    await self._resumed
                    self._progressed()
        finally:
            await self._pieces.aclose()

    def _end(self, _: object) -> None:
        if (done := self._done) is not None:
            self._sent()
            done.callback(None)

    def _fail(self, failure: Failure) -> None:
        if (done := self._done) is not None:
            self.failure = failure.value
            done.errback(failure)
