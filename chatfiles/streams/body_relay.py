"""
Relays the body of an upstream's response to a client, with back-pressure.  If the upstream is
interrupted, the relay fails, so that the client can be interrupted visibly (RFC 9112, 8).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
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
    def write(self, data: bytes, /) -> object: ...
    def registerProducer(self, producer: Any, streaming: bool, /) -> object: ...
    def unregisterProducer(self) -> object: ...


@implementer(IPushProducer)
class BodyRelay(TwistedProtocol):
    """
    Receives an upstream's body (give it to ``deliverBody``) and writes it to a client's response.

    :param request: the client's; the head of its response has been written.
    :param expected: how many bytes were announced; ``None`` when the body is chunked.
    :param on_backpressure: called with true when the client takes nothing for now, and with false
        when it has taken all that waited in our buffer.
    :ivar done: fires when every byte has been passed on *and taken from our own buffers*; fails
        with `UpstreamInterrupted`.  Cancelling it closes the upstream's connection.
    :ivar received: bytes that have come from the upstream.
    :ivar paused: whether the client takes nothing for now.
    """

    def __init__(
        self,
        request: _Request,
        expected: int | None,
        on_backpressure: Callable[[bool], object] = lambda _: None,
    ) -> None:
        self._request = request
        self._expected = expected
        self._on_backpressure = on_backpressure
        self._complete = False
        self.received = 0
        self.paused = False
        self.done: Deferred[None] = Deferred(lambda _: self.stop())

    # -- for the upstream

    def connectionMade(self) -> None:
        """The body is about to arrive."""
        self._request.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """Some bytes of the body."""
        self.received += len(data)
        self._request.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The body has ended; *reason* tells whether it is complete."""
        whole = self._expected is None or self.received == self._expected
        if reason.check(ResponseDone) is None or not whole:
            self._end(Failure(UpstreamInterrupted()))
        elif self.paused:
            self._complete = True  # the client still has to take what is in our buffer
        else:
            self._end(None)

    # -- for the client's connection

    def pauseProducing(self) -> None:
        """The client takes no more for now."""
        self.paused = True
        self._on_backpressure(True)
        if not self._complete:
            self._upstream.pauseProducing()

    def resumeProducing(self) -> None:
        """The client has taken everything that was in our buffer."""
        self.paused = False
        self._on_backpressure(False)
        if self._complete:
            self._end(None)
        else:
            self._upstream.resumeProducing()

    def stopProducing(self) -> None:
        """The client has left."""
        self.stop()

    # -- for the transfer

    @property
    def sent(self) -> int:
        """Bytes that have been written to the client's response."""
        return self.received

    def stop(self) -> None:
        """Take no more from the upstream, and close its connection; idempotent."""
        if not self._complete and self.transport is not None:
            self._upstream.stopProducing()

    def upstream_state(self) -> Hashable:
        """
        :return: changes when the upstream sends something, and all the time while we let it wait:
            an upstream that may not send is not late.
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
