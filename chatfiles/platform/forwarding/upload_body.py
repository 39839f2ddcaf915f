"""
From a caller's request to a workspace: the body of the one as the body of the other, as it arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, ITransport
from twisted.web.iweb import UNKNOWN_LENGTH
from zope.interface import implementer

from chatfiles.errors import UpstreamTimeout
from chatfiles.http.server.request_body import RequestBody
from chatfiles.platform.upstream.request import IWatchfulBody
from chatfiles.rules.upload_head import request_too_large
from chatfiles.streams.stall_timeout import acknowledged

__all__ = ["UploadBody"]


class NotWanted(Exception):
    """The upstream takes no more of the body."""


@implementer(IWatchfulBody)
class UploadBody:
    """
    Give one to treq.

    The caller is asked for the body when the workspace is connected, not before.

    :param body: what the caller sends.
    :param limit: bytes that it may have.
    :ivar error: why it ended early, if that was not the workspace's doing.
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

    # -- for the upstream (IWatchfulBody)

    def sending_to(self, transport: ITransport) -> None:
        """What is written goes there."""
        self._taken = acknowledged(transport)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """The workspace is connected."""
        self._consumer = consumer
        self._body.deliver(self)
        return self._done

    def pauseProducing(self) -> None:
        """The workspace takes no more for now."""
        self._paused = True
        self._body.pause()

    def resumeProducing(self) -> None:
        """It takes more."""
        self._paused = False
        self._body.resume()

    def stopProducing(self) -> None:
        """It takes no more at all; what the caller still sends is not for it."""
        self._consumer = None

    # -- for the caller's body (BodyReceiver)

    def received(self, data: bytes) -> None:
        """Some bytes of the body."""
        if self._consumer is None:
            self._body.pause()
            return
        self._passed += len(data)
        if self._passed > self._limit:
            self._end(request_too_large(self._limit))
        else:
            self._consumer.write(data)

    def finished(self) -> None:
        """The body was complete."""
        if self._consumer is not None:
            self._consumer = None
            self._done.callback(None)

    def failed(self, error: BaseException) -> None:
        """The caller left, was too slow, or sent something malformed."""
        self._end(error if isinstance(error, Exception) else NotWanted())

    # -- for who watches

    def progress(self) -> Hashable:
        """:return: changes unless we wait for the workspace, and it takes nothing."""
        waiting = self._paused and self._consumer is not None
        return (self._passed, self._taken()) if waiting else object()

    def give_up(self) -> None:
        """The workspace has not taken a byte for too long."""
        self._end(UpstreamTimeout("workspace stopped taking the upload"))

    def _end(self, error: Exception) -> None:
        self.error = self.error or error
        if self._consumer is not None:
            self._consumer = None
            self._done.errback(error)
