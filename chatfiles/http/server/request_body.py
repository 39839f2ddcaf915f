"""
A request's body as a stream.  Nothing of it is stored for a resource that does not ask for it.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

from chatfiles.errors import TooLarge
from chatfiles.http.server.interfaces import BodyConnection
from chatfiles.streams.transports import SMALL_READ

__all__ = [
    "LARGE_READ",
    "BodyReceiver",
    "ClientDisconnected",
    "RequestBody",
]

#: Bytes of one read of a long body.  Fewer and larger reads cost less time; still larger ones would
#: cost memory for each client under back-pressure.  A chunked body does not announce its length,
#: and its chunks may be so small that one large read of them keeps the reactor busy for long.
LARGE_READ = 256 * 1024


class ClientDisconnected(Exception):
    """The connection was lost before the body was complete."""

    outcome = "client_left"


class BodyReceiver(Protocol):
    """Takes a body as it arrives.  Exactly one of `finished` and `failed` is called, last."""

    def received(self, data: bytes) -> None:
        """Take some bytes of the body; call `RequestBody.pause` for back-pressure."""

    def finished(self) -> None:
        """The body is complete."""

    def failed(self, error: BaseException) -> None:
        """The body will not be complete: it is malformed or too slow, or its sender left."""


class RequestBody:
    """
    What a client sends behind the head of its request.

    Until `deliver` is called, at most one read of the socket is kept in memory, and reading is
    paused.  ``100 Continue`` is sent by `deliver`, not before.

    :param channel: the connection it arrives on.
    :param length: the declared length in bytes; ``None`` when chunked, ``0`` when there is none.
    :param expects_continue: the client waits for ``100 Continue`` before it sends the body.
    :ivar seen: bytes of the body that have been received.
    :ivar complete: all of it has been received.
    :ivar paused: its receiver asked for back-pressure, or there is none yet.
    """

    def __init__(self, channel: BodyConnection, length: int | None, expects_continue: bool) -> None:
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
        Give the body to *receiver* as it arrives.  It may be called once, at any time.

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
        """Whether what was just received was the last part; unknown, so false, when chunked."""
        return self.seen == self.length

    def read(self, limit: int) -> Deferred[bytes]:
        """
        Read the whole of a small body.

        :param limit: the most bytes that it may have.
        :return: fires with the body.
        :raise TooLarge: it is longer, declared or actual.
        """
        whole = _Whole(self, limit)
        if self.length is not None and self.length > limit:
            whole.failed(TooLarge())
        else:
            self.deliver(whole)
        return whole.result

    def pause(self) -> None:
        """Take no more bytes from the client."""
        if not self.paused and not self.complete:
            self.paused = True
            self._channel.pause_reading()

    def resume(self) -> None:
        """Take bytes from the client again."""
        if self.paused:
            self.paused = False
            self._channel.resume_reading()

    @property
    def small(self) -> bool:
        """Whether it was asked for by `read`."""
        return isinstance(self._receiver, _Whole)

    @property
    def claimed(self) -> bool:
        """Whether the body has a receiver."""
        return self._receiver is not None

    def discard(self) -> None:
        """Discard what has been received and what will be."""
        self._early.clear()
        self._receiver = _DISCARD
        self._channel.resize_reads(SMALL_READ)
        self.resume()

    # -- for the connection

    def data_received(self, data: bytes) -> None:
        """Take some bytes of the body."""
        self.seen += len(data)
        if self._receiver is not None:
            self._receiver.received(data)
        else:
            self._early.append(data)
            self.pause()

    def completed(self) -> None:
        """The last byte of the body has been received."""
        self.complete = True
        self.paused = False  # the connection reads again: it has to notice that the client leaves
        if self._receiver is not None:
            self._receiver.finished()

    def fail(self, error: BaseException) -> None:
        """
        The body will not be complete; its receiver is notified once.

        :param error: what `BodyReceiver.failed` gets.
        """
        if self._error is None and not self.complete:
            self._error = error
            if self._receiver is not None:
                self._receiver.failed(error)

    @property
    def failed(self) -> bool:
        """Whether the body can no longer be completed."""
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
