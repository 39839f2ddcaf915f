"""
Relays the body of a client's upload to a workspace as it arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, ITransport
from twisted.web.iweb import UNKNOWN_LENGTH
from zope.interface import implementer

from chatfiles.errors import ChatfilesError, UpstreamTimeout
from chatfiles.http.server.request_body import RequestBody
from chatfiles.platform.upstream.request import IWatchfulBody
from chatfiles.rules.upload_head import request_too_large
from chatfiles.streams.stall_timeout import acknowledged

__all__ = ["UploadBody"]


class BodyNotNeeded(Exception):
    """The client's body failed with an error that is not an `Exception`."""


@implementer(IWatchfulBody)
class UploadBody:
    """
    The body of the request to the workspace, for treq.

    The client's body is read only when the workspace is connected.

    :param body: the body that the client sends.
    :param limit: its maximum length in bytes.
    :ivar length: its length in bytes, or ``UNKNOWN_LENGTH``.
    :ivar check: called with its bytes in order, before the workspace receives them; it raises the
        error that ends the body.
    :ivar error: why the body ended early; ``None`` if it did not, or the workspace ended it.
    """

    def __init__(self, body: RequestBody, limit: int) -> None:
        self._body = body
        self._limit = limit
        self._consumer: IConsumer | None = None
        self._done: Deferred[None] = Deferred()
        self._paused = False
        self._passed = 0
        self._taken: Callable[[], Hashable] = lambda: 0
        self.length = UNKNOWN_LENGTH if body.length is None else body.length
        self.error: Exception | None = None
        self.check: Callable[[bytes], object] = lambda _: None

    # -- for the upstream (IWatchfulBody)

    def sending_to(self, transport: ITransport) -> None:
        """Measure the progress by the bytes that the peer of *transport* has acknowledged."""
        self._taken = acknowledged(transport)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """
        The workspace is connected: write the body to *consumer*.

        :return: fires when the whole body has been written; fails if the body ends early.
        """
        self._consumer = consumer
        self._body.deliver(self)
        return self._done

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
        self._consumer = None

    # -- for the client's body (BodyReceiver)

    def received(self, data: bytes) -> None:
        """Send *data*, or end the body if it is too large or does not pass the check."""
        if self._consumer is None:
            self._body.pause()
            return
        self._passed += len(data)
        try:
            if self._passed > self._limit:
                raise request_too_large(self._limit)
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

    def _end(self, error: Exception) -> None:
        self.error = self.error or error
        if self._consumer is not None:
            self._consumer = None
            self._done.errback(error)
