"""
Relays the body of a client's upload to a workspace as it arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.web.iweb import UNKNOWN_LENGTH
from zope.interface import implementer

from chatfiles.errors import ChatfilesError, UpstreamTimeout
from chatfiles.http.server.request_body import RequestBody
from chatfiles.platform.upstream.request import IWatchfulBody
from chatfiles.rules.upload_head import request_too_large
from chatfiles.streams.splice import Splice, Splicer
from chatfiles.streams.stall_timeout import acknowledged

__all__ = ["UploadBody"]

#: Seconds to wait for ``100 Continue`` of a workspace.
CONTINUE_TIMEOUT = 5.0


class BodyNotNeeded(Exception):
    """The client's body failed with an error that is not an `Exception`."""


@implementer(IWatchfulBody)
class UploadBody:
    """
    The body of the request to the workspace, for treq.

    The client's body is read only when the workspace is connected.  With *waits_on*, it is read
    when the workspace has sent ``100 Continue``: only then does the client receive it, too.

    :param body: the body that the client sends.
    :param limit: its maximum length in bytes.
    :param waits_on: runs the timer that ends the wait for ``100 Continue``: some servers never send
        it (RFC 9110, 10.1.1).
    :param too_large: returns the error for a body of more bytes than the limit.
    :param splicer: lets the kernel move the middle of a large body, whose bytes are not checked.
    :ivar length: its length in bytes, or ``UNKNOWN_LENGTH``.
    :ivar check: called with its bytes in order, before the workspace receives them; it raises the
        error that ends the body.
    :ivar splice: moves the middle of the body now, if anything does.
    :ivar error: why the body ended early; ``None`` if it did not, or the workspace ended it.
    """

    def __init__(
        self,
        body: RequestBody,
        limit: int,
        waits_on: IReactorTime | None = None,
        too_large: Callable[[int], ChatfilesError] = request_too_large,
        splicer: Splicer | None = None,
    ) -> None:
        self._body = body
        self._limit = limit
        self._waits_on = waits_on
        self._wait: IDelayedCall | None = None
        self._too_large = too_large
        self._splicer = splicer
        self._consumer: Any = None
        self._transport: Any = None
        self._done: Deferred[None] = Deferred()
        self._paused = False
        self._passed = 0
        self._taken: Callable[[], Hashable] = lambda: 0
        self.length = UNKNOWN_LENGTH if body.length is None else body.length
        self.splice: Splice | None = None
        self.error: Exception | None = None
        self.check: Callable[[bytes], object] = lambda _: None

    # -- for the upstream (IWatchfulBody)

    def sending_to(self, transport: Any) -> None:
        """Measure the progress by the bytes that the peer of *transport* has acknowledged."""
        self._transport = transport
        self._taken = acknowledged(transport)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """
        The workspace is connected: write the body to *consumer*.

        :return: fires when the whole body has been written; fails if the body ends early.
        """
        self._consumer = consumer
        if self._waits_on is None:
            self._begin()
        else:
            self._wait = self._waits_on.callLater(CONTINUE_TIMEOUT, self.continued)
        return self._done

    def continued(self) -> None:
        """The workspace is ready for the body: read it."""
        if self._waits_on is not None:
            self._waits_on = None
            self._stop_waiting()
            self._begin()

    def _begin(self) -> None:
        self._body.deliver(self)
        fits = (self._body.length or 0) <= self._limit
        if self._splicer is not None and self._consumer is not None and fits:
            self._splicer.begin(self._body, self._transport, self, self)

    def pauseProducing(self) -> None:
        """Pause: the workspace takes no more for now."""
        self._paused = True
        self._body.pause()

    def resumeProducing(self) -> None:
        """Resume: the workspace takes more."""
        self._paused = False
        self._body.resume()

    def stopProducing(self) -> None:
        """Stop: the workspace takes no more.  The rest of the client's body is not sent to it."""
        self._stop()

    # -- for the splice (Relay)

    def moved(self, count: int) -> None:
        """:param count: so many bytes were sent without passing through this object."""
        self._passed += count
        self._consumer.moved(count)

    # -- for the client's body (BodyReceiver)

    def received(self, data: bytes) -> None:
        """Send *data*, or end the body if it is too large or does not pass the check."""
        if self._consumer is None:
            self._body.pause()
            return
        self._passed += len(data)
        try:
            if self._passed > self._limit:
                raise self._too_large(self._limit)
            self.check(data)
        except ChatfilesError as error:
            self._end(error)
        else:
            self._consumer.write(data)

    def finished(self) -> None:
        """The client has sent the whole body."""
        if self._consumer is not None:
            self._consumer = None
            self._done.callback(None)

    def failed(self, error: BaseException) -> None:
        """The client disconnected, was too slow, or sent a malformed body."""
        self._end(error if isinstance(error, Exception) else BodyNotNeeded())

    # -- for the stall timeout

    def progress(self) -> Hashable:
        """
        :return: a value that stays equal while the relay waits for the workspace and the workspace
            takes nothing, and changes otherwise.
        """
        waiting = self._paused and self._consumer is not None
        return (self._passed, self._taken()) if waiting else object()

    def give_up(self) -> None:
        """End the body: the workspace has taken no byte for too long."""
        self._end(UpstreamTimeout("workspace stopped taking the upload"))

    def _stop_waiting(self) -> None:
        if self._wait is not None and self._wait.active():
            self._wait.cancel()

    def _end(self, error: Exception) -> None:
        self.error = self.error or error
        if self._stop() is not None:
            self._done.errback(error)

    def _stop(self) -> Any:
        """:return: the consumer, if it has not been left before."""
        self._stop_waiting()
        consumer, self._consumer = self._consumer, None
        if self.splice is not None:
            self.splice.stop()
        return consumer
