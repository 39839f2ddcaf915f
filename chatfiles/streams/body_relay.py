"""
From one answer to another: an upstream's body becomes the body of the answer to a caller, with
back-pressure, and a cut of the one becomes a cut of the other (CONTRACT 6.3).
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

__all__ = ["BodyRelay", "UpstreamCut"]


class UpstreamCut(Exception):
    """The upstream's body ended before it was complete."""

    outcome = "upstream_cut"


class _Request(Protocol):
    def write(self, data: bytes, /) -> object: ...
    def registerProducer(self, producer: Any, streaming: bool, /) -> object: ...
    def unregisterProducer(self) -> object: ...


@implementer(IPushProducer)
class BodyRelay(TwistedProtocol):
    """
    Give one to ``deliverBody``.

    :param request: whose answer gets the bytes; its head has been written.
    :param expected: how many bytes were announced; ``None`` when the body is chunked.
    :ivar done: fires when every byte has been handed on *and taken from our own buffers*; fails
        with `UpstreamCut`.  Cancelling it drops the upstream.
    """

    def __init__(self, request: _Request, expected: int | None) -> None:
        self._request = request
        self._expected = expected
        self._complete = False
        self.received = 0
        self.paused = False
        self.done: Deferred[None] = Deferred(lambda _: self.drop())

    # -- for the upstream

    def connectionMade(self) -> None:
        """The body is about to arrive."""
        self._request.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """Some bytes of the body."""
        self.received += len(data)
        self._request.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The body has ended, one way or the other."""
        whole = self._expected is None or self.received == self._expected
        if reason.check(ResponseDone) is None or not whole:
            self._end(Failure(UpstreamCut()))
        elif self.paused:
            self._complete = True  # the caller is still taking what is in our buffer
        else:
            self._end(None)

    # -- for the caller's connection

    def pauseProducing(self) -> None:
        """The caller takes no more for now."""
        self.paused = True
        if not self._complete:
            self._upstream.pauseProducing()

    def resumeProducing(self) -> None:
        """The caller has taken everything that was in our buffer."""
        self.paused = False
        if self._complete:
            self._end(None)
        else:
            self._upstream.resumeProducing()

    def stopProducing(self) -> None:
        """The caller has left."""
        self.drop()

    # -- for who started it

    def drop(self) -> None:
        """Take no more from the upstream; its connection is closed."""
        if not self._complete and self.transport is not None:
            self._upstream.stopProducing()

    def upstream_state(self) -> Hashable:
        """:return: changes with what the upstream sends; and while it is us who make it wait."""
        return object() if self.paused else self.received

    @property
    def _upstream(self) -> Any:
        return cast("Any", self.transport)

    def _end(self, result: Failure | None) -> None:
        self._complete = True
        self._request.unregisterProducer()
        if not self.done.called:
            self.done.callback(cast("None", result))
