"""
A request's body as a stream: nothing is kept in memory or on disk for a resource that did not ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred

from chatfiles.errors import TooLarge
from chatfiles.streams.transports import SMALL_READ

if TYPE_CHECKING:
    from chatfiles.http.server.connection import ServerConnection

__all__ = ["LARGE_READ", "BodyReceiver", "ClientDisconnected", "RequestBody"]

#: Bytes of one read of a body that is longer than such a read: what it costs to wait for the next
#: one is saved; more would be memory that each caller who is held back takes.  Chunked bodies do
#: not tell, and may consist of chunks so small that a large read of them keeps us busy for long.
LARGE_READ = 256 * 1024


class ClientDisconnected(Exception):
    """The connection was lost before the body was complete."""

    outcome = "client_left"


class BodyReceiver(Protocol):
    """Who takes a body as it arrives.  Exactly one of `finished` and `failed` is called, last."""

    def received(self, data: bytes) -> None:
        """Some bytes of the body; call `RequestBody.pause` to be given no more for now."""

    def finished(self) -> None:
        """The body was complete."""

    def failed(self, error: BaseException) -> None:
        """The body cannot be completed: malformed, too slow, or its sender left."""


class RequestBody:
    """
    What a caller sends behind the head of its request.

    Until somebody asks for it, at most one read of the socket is kept and the socket is paused.
    ``100 Continue`` is sent when somebody asks, not before.

    :param channel: the connection it arrives on.
    :param length: the declared length in bytes; ``None`` when chunked, ``0`` when there is none.
    :param expects_continue: the sender waits to be asked.
    """

    def __init__(
        self, channel: ServerConnection, length: int | None, expects_continue: bool
    ) -> None:
        self._channel = channel
        self.length = length
        self.expects_continue = expects_continue and length != 0
        self.complete = length == 0
        self.paused = False
        self.seen = 0
        self._early: list[bytes] = []
        self._receiver: BodyReceiver | None = None
        self._error: BaseException | None = None

    # -- for a resource

    def deliver(self, receiver: BodyReceiver) -> None:
        """
        Give the body to *receiver* as it arrives.  May be called once, at any time.
        """
        if self._receiver is not None:
            raise RuntimeError("the body has a receiver already")
        self._receiver = receiver
        early, self._early = self._early, []
        was_paused, self.paused = self.paused, False
        for data in early:
            receiver.received(data)
        if self._error is not None:
            receiver.failed(self._error)
        elif self.complete:
            receiver.finished()
        else:
            if (self.length or 0) - self.seen > SMALL_READ:
                self._channel.resize_reads(LARGE_READ)
            if self.expects_continue and not self.seen:
                self.expects_continue = False
                self._channel.send_continue()
            if was_paused and not self.paused:
                self._channel.resume_reading()

    @property
    def all_seen(self) -> bool:
        """Whether the end follows at once on what was just received; chunked bodies do not tell."""
        return self.seen == self.length

    def read(self, limit: int) -> Deferred[bytes]:
        """
        Read a small body whole.

        :param limit: the most bytes to take.
        :raise TooLarge: it is longer, declared or actual.
        """
        whole = _Whole(self, limit)
        if self.length is not None and self.length > limit:
            whole.failed(TooLarge())
        else:
            self.deliver(whole)
        return whole.result

    def pause(self) -> None:
        """Take no more bytes from the caller."""
        if not self.paused and not self.complete:
            self.paused = True
            self._channel.pause_reading()

    def resume(self) -> None:
        """Take bytes again."""
        if self.paused:
            self.paused = False
            self._channel.resume_reading()

    @property
    def small(self) -> bool:
        """Whether it is read whole, by `read`."""
        return isinstance(self._receiver, _Whole)

    @property
    def claimed(self) -> bool:
        """Whether somebody takes the body."""
        return self._receiver is not None

    def discard(self) -> None:
        """Throw away what came and what will come."""
        self._early.clear()
        self._receiver = _NOBODY
        self._channel.resize_reads(SMALL_READ)
        self.resume()

    # -- for the connection

    def data_received(self, data: bytes) -> None:
        """Some bytes of the body."""
        self.seen += len(data)
        if self._receiver is not None:
            self._receiver.received(data)
        else:
            self._early.append(data)
            self.pause()

    def completed(self) -> None:
        """The last byte of the body has been received."""
        self.complete = True
        self.resume()  # or nobody would notice that the caller leaves before the answer
        if self._receiver is not None:
            self._receiver.finished()

    def fail(self, error: BaseException) -> None:
        """The rest of the body will not come."""
        if self._error is None and not self.complete:
            self._error = error
            if self._receiver is not None:
                self._receiver.failed(error)

    @property
    def failed(self) -> bool:
        """Whether the body can no longer be completed."""
        return self._error is not None


class _Nobody:
    """Takes a body that nobody wants."""

    def received(self, data: bytes) -> None:
        pass

    def finished(self) -> None:
        pass

    def failed(self, error: BaseException) -> None:
        pass


_NOBODY = _Nobody()


class _Whole:
    """Collects a small body."""

    def __init__(self, body: RequestBody, limit: int) -> None:
        self.result: Deferred[bytes] = Deferred()
        self._body = body
        self._limit = limit
        self._chunks: list[bytes] = []
        self._done = False

    def received(self, data: bytes) -> None:
        if self._done:
            return
        self._chunks.append(data)
        if self._body.seen > self._limit:
            self.failed(TooLarge())

    def finished(self) -> None:
        if not self._done:
            self._done = True
            self.result.callback(b"".join(self._chunks))

    def failed(self, error: BaseException) -> None:
        if not self._done:
            self._done = True
            self._chunks.clear()
            self.result.errback(error)
