"""
Reads the body of a workspace's response that must be small.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import IResponse

from chatfiles.errors import UpstreamTimeout
from chatfiles.platform.error_texts import invalid_response

__all__ = ["read_small_body"]


async def read_small_body(
    response: IResponse, limit: int, clock: IReactorTime, seconds: float
) -> bytes | None:
    """
    :param response: its body has not been delivered yet.
    :param limit: the most bytes that are read.
    :param seconds: in which the whole body must arrive.
    :return: the body; ``None`` if it is larger.  The connection is closed then.
    :raise UpstreamFailed: the body was interrupted.
    :raise UpstreamTimeout: the body was not complete in time.
    """
    receiver = _SmallBody(limit)
    response.deliverBody(receiver)
    try:
        return await receiver.done.addTimeout(seconds, clock)
    except defer.TimeoutError:
        raise UpstreamTimeout from None


class _SmallBody(Protocol):
    """
    :param limit: the most bytes that are read.
    :ivar done: fires with the body, or ``None``.  Cancelling it closes the connection.
    """

    def __init__(self, limit: int) -> None:
        self.done: Deferred[bytes | None] = Deferred(lambda _: self._stop())
        self._left = limit
        self._pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left >= 0:
            self._pieces.append(data)
        elif not self.done.called:
            self.done.callback(None)
            self._stop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone):
            self.done.callback(b"".join(self._pieces))
        else:
            self.done.errback(invalid_response("its error was interrupted"))

    def _stop(self) -> None:
        transport: Any = self.transport
        transport.stopProducing()
