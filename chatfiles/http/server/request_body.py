"""
A request's body as a stream.  It is not stored, unless a resource reads it as a whole.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred

from chatfiles.errors import TooLarge
from chatfiles.http.server.interfaces import BodyConnection
from chatfiles.streams.transports import SMALL_READ

__all__ = [
    "LARGE_READ",
    "BodyReceiver",
    "RequestBody",
]

#: The most bytes of one read of a long body.  Larger reads cost less time in total, but they cost
#: memory for each client under back-pressure.  A chunked body is not read so: its length is
#: unknown, and if its chunks are very small, one large read would block the reactor for long.
LARGE_READ = 1024 * 1024


class BodyReceiver(Protocol):
    """Receives a body as it arrives.  The last call is either `finished` or `failed`."""

    def received(self, data: bytes) -> None:
        """
        Receive a part of the body.  Call `RequestBody.pause` for back-pressure.

        :param data: the next bytes of the body.
        """

    def finished(self) -> None:
        """The body is complete."""

    def failed(self, error: BaseException) -> None:
        """
        The body will never be complete.

        :param error: the reason: it is malformed or too slow, or the client disconnected.
        """


class RequestBody:
    """
    The body of a request.

    Until `deliver` is called, at most one read of the socket is kept in memory, and reading is
    paused.  ``100 Continue`` is sent by `deliver`, not before.

    :param channel: the connection on which it arrives.
    :param length: the declared length in bytes; ``None`` if chunked, ``0`` without a body.
    :param expects_continue: whether the client waits for ``100 Continue`` before it sends the body.
    :ivar seen: number of bytes of the body that have been received.
    :ivar small: whether `read` was called.
    :ivar complete: whether the whole body has been received.
    :ivar paused: whether reading is paused: the receiver asked for it, or there is no receiver yet.
    """

    def __init__(self, channel: BodyConnection, length: int | None, expects_continue: bool) -> None:
        self._channel = channel
        self.length = length
        self.expects_continue = expects_continue and length != 0
        self.complete = length == 0
        self.paused = False
        self.seen = 0
        self.small = False
        self._early: list[bytes] = []
        self._receiver: BodyReceiver | None = None
        self._error: BaseException | None = None

    # -- for a resource

    def deliver(self, receiver: BodyReceiver) -> None:
        """
        Pass the body to *receiver* as it arrives.  It may be called once, at any time.

        :param receiver: receives the body.
        :raise RuntimeError: the body has a receiver already.
        """
        if self._receiver is not None:
            raise RuntimeError("the body has a receiver already")
        self._receiver = receiver
        early, self._early = self._early, []
        was_paused, self.paused = self.paused, False
        for data in early:
            receiver.received(data)
        if self._error is not None:
            self._last_call().failed(self._error)
        elif self.complete:
            self._last_call().finished()
        else:
            self.read_at_most(LARGE_READ)
            if self.expects_continue and not self.seen:
                self.expects_continue = False
                self._channel.send_continue()
            if was_paused and not self.paused:
                self._channel.resume_reading()

    def read_at_most(self, size: int) -> None:
        """
        Choose the size of the next reads, if much is to come.

        :param size: the most bytes of one; `LARGE_READ` if it is more.
        """
        if self.left > SMALL_READ:
            self._channel.resize_reads(min(size, LARGE_READ))

    @property
    def all_seen(self) -> bool:
        """Whether the last byte has been received; always false if the body is chunked."""
        return self.seen == self.length

    def read(self, limit: int) -> Deferred[bytes]:
        """
        Read a small body as a whole.

        :param limit: the most bytes that the body may have.
        :return: fires with the body.  Fails with `TooLarge` if the declared or actual length
            exceeds *limit*, or with the error that ended the body.
        """
        whole = _Whole(self, limit)
        if self.length is not None and self.length > limit:
            whole.failed(TooLarge())
        else:
            self.small = True
            self.deliver(whole)
        return whole.result

    def pause(self) -> None:
        """Apply back-pressure to the client; idempotent."""
        if not self.paused and not self.complete:
            self.paused = True
            self._channel.pause_reading()

    def resume(self) -> None:
        """End the back-pressure; idempotent."""
        if self.paused:
            self.paused = False
            self._channel.resume_reading()

    @property
    def claimed(self) -> bool:
        """Whether the body has a receiver."""
        return self._receiver is not None

    def discard(self) -> None:
        """Discard the received part of the body and the rest of it."""
        self._early.clear()
        self._receiver = _DISCARD
        self._channel.resize_reads(SMALL_READ)
        self.resume()

    # -- for a splice of its middle (SpliceSource)

    @property
    def transport(self) -> Any:
        """The transport of its connection."""
        return self._channel.transport

    @property
    def left(self) -> int:
        """Bytes that have not been received; 0 if the body is chunked."""
        return (self.length or self.seen) - self.seen

    def spliced(self, count: int) -> None:
        """:param count: so many bytes were read from the socket past this object."""
        self.seen += count
        self._channel.body_spliced()

    # -- for the connection

    def data_received(self, data: bytes) -> None:
        """
        :param data: the next bytes of the body.
        """
        self.seen += len(data)
        if self._receiver is not None:
            self._receiver.received(data)
        else:
            self._early.append(data)
            self.pause()

    def completed(self) -> None:
        """The last byte of the body has been received."""
        self.complete = True
        self.paused = False  # the connection reads again, to notice if the client disconnects
        if self._receiver is not None:
            self._last_call().finished()

    def fail(self, error: BaseException) -> None:
        """
        The body will never be complete.  Its receiver is notified once.

        :param error: passed to `BodyReceiver.failed`.
        """
        if self._error is None and not self.complete:
            self._error = error
            if self._receiver is not None:
                self._last_call().failed(error)

    def _last_call(self) -> BodyReceiver:
        """:return: the receiver, which often refers to this: no reference cycle may remain."""
        receiver, self._receiver = self._receiver, _DISCARD
        assert receiver is not None
        return receiver

    @property
    def failed(self) -> bool:
        """Whether the body will never be complete."""
        return self._error is not None


class _Discard:
    """Discards a body."""

    def received(self, data: bytes) -> None:
        pass

    def finished(self) -> None:
        pass

    def failed(self, error: BaseException) -> None:
        pass


_DISCARD = _Discard()


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
