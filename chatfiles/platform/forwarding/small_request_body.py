"""
A small request body that is in memory.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

__all__ = ["MemoryBody"]


@implementer(IBodyProducer)
class MemoryBody:
    """
    A body for treq.  It is written at once, so pausing it has no effect.

    :param data: the body, bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write the body to *consumer*.  The result has fired."""
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing: the body has been written."""

    def resumeProducing(self) -> None:
        """Do nothing: the body has been written."""

    def stopProducing(self) -> None:
        """Do nothing: the body has been written."""
