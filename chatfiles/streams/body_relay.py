"""
Relays the body of an upstream's response to a client, with back-pressure.  If the upstream is
interrupted, the relay fails.  The client's connection can then be aborted, so that the client sees
an incomplete body (RFC 9112, 8).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from zope.interface import implementer

from chatfiles.streams.outcome import Outcome

__all__ = ["BodyRelay", "UpstreamInterrupted"]


class UpstreamInterrupted(Exception):
    """The upstream's body ended before it was complete."""

    outcome = Outcome.UPSTREAM_INTERRUPTED


class _Request(Protocol):
    @property
    def channel(self) -> Any: ...
    def write(self, data: bytes, /) -> object: ...
    def registerProducer(self, producer: Any, streaming: bool, /) -> object: ...
    def unregisterProducer(self) -> object: ...


class _Splice(Protocol):
    def stop(self) -> None: ...


@implementer(IPushProducer)
class BodyRelay(TwistedProtocol):
    """
    Receives an upstream's body and writes it to a client's response.  Pass it to ``deliverBody``.

    :param request: the client's request; the headers of its response have been written.
    :param expected: the declared length in bytes; ``None`` if the body is chunked.
    :ivar done: fires when every byte has been relayed and has left this process's buffers; fails
        with `UpstreamInterrupted`.  Cancelling it closes the upstream's connection.
    :ivar received: number of bytes received from the upstream.
    :ivar paused: whether the relay waits for the client.
    :ivar splice: moves a part of the body past this process, if any does.
    """

    def __init__(self, request: _Request, expected: int | None) -> None:
        self._request = request
        self._expected = expected
        self._complete = False
        self.received = 0
        self.paused = False
        self.splice: _Splice | None = None
        self.done: Deferred[None] = Deferred(lambda _: self.stop())

    # -- for the upstream

    def connectionMade(self) -> None:
        """The body begins."""
        self._request.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """
        :param data: the next bytes of the body.
        """
        self.received += len(data)
        self._request.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The body has ended.

        :param reason: ``ResponseDone`` if the body is complete.
        """
        self.transport = None  # breaks the reference cycle
        whole = self._expected is None or self.received == self._expected
        if reason.check(ResponseDone) is None or not whole:
            self._end(Failure(UpstreamInterrupted()))
        elif self.paused:
            self._complete = True  # the client still has to take the rest of the buffer
        else:
            self._end(None)

    def moved(self, count: int) -> None:
        """:param count: so many bytes of the body were sent without passing through this object."""
        self.received += count
        self._request.channel.sent_directly(count)

    # -- for the client's connection

    def pauseProducing(self) -> None:
        """The send buffer is full: apply back-pressure to the upstream."""
        self.paused = True
        if not self._complete:
            self._upstream.pauseProducing()

    def resumeProducing(self) -> None:
        """The client has taken everything in the send buffer."""
        self.paused = False
        if self._complete:
            self._end(None)
        else:
            self._upstream.resumeProducing()

    def stopProducing(self) -> None:
        """The client has disconnected."""
        self.stop()

    # -- for the transfer

    @property
    def sent(self) -> int:
        """Bytes that have been written to the client's response."""
        return self.received

    def stop(self) -> None:
        """Stop reading from the upstream, and close its connection; idempotent."""
        if self.splice is not None:
            self.splice.stop()
        if not self._complete and self.transport is not None:
            self._upstream.stopProducing()

    def upstream_state(self) -> Hashable:
        """
        :return: a value that changes when the upstream has sent bytes.  Under back-pressure it is
            different at each call, because the upstream cannot send then and has not stalled.
        """
        return object() if self.paused else self.received

    @property
    def _upstream(self) -> Any:
        return cast("Any", self.transport)

    def _end(self, result: Failure | None) -> None:
        self._complete = True
        self._request.unregisterProducer()
        if not self.done.called:
            self.done.callback(cast("None", result))
