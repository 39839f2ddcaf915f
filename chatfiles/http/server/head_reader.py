"""
The message head that a connection is waiting for, and its deadline.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from chatfiles.errors import ChatfilesError
from chatfiles.http.message_head import request as request_head
from chatfiles.http.message_head.request import RequestHead

__all__ = ["HeadReader", "HeadRefused", "is_blank"]

_END = b"\r\n\r\n"


def is_blank(received: bytes) -> bool:
    """:return: whether *received* may precede a head without being a part (RFC 9112, 2.2)."""
    return received in (b"", b"\r", b"\r\n")


class HeadRefused(Exception):
    """
    A head is not acceptable.

    :ivar error: what is wrong with it.
    :ivar part: what there is of it.
    :ivar whole: whether that is all of it.
    """

    def __init__(self, error: ChatfilesError, part: bytes, *, whole: bool = False) -> None:
        super().__init__(error)
        self.error = error
        self.part = part
        self.whole = whole


class HeadReader:
    """
    Reads one head after the other.

    :param clock: for the deadline.
    :param timeout: seconds for a head in total, however often a byte comes.
    """

    def __init__(self, clock: IReactorTime, timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout
        self._partial = request_head.PartialHead()
        self._by: float | None = None

    def begin(self) -> None:
        """The time for a head begins; idempotent."""
        if self._by is None:
            self._by = self._clock.seconds() + self._timeout

    @property
    def seconds_left(self) -> float | None:
        """The seconds that are left for the head; ``None`` if its time has not begun."""
        return None if self._by is None else self._by - self._clock.seconds()

    def read(self, received: bytes) -> tuple[RequestHead | None, bytes]:
        """
        :param received: all that was received, from the first byte of the head on.
        :return: the head, and what follows it; ``None`` and *received* while it is not complete.
        :raise HeadRefused: no further byte can make it acceptable.
        """
        part, end, rest = received.partition(_END)
        if len(part) > request_head.MAX_HEAD_BYTES + (0 if end else len(_END) - 1):
            raise HeadRefused(request_head.too_large(received), received)
        try:
            if end:
                self._partial, self._by = request_head.PartialHead(), None
                return request_head.read_head(part), rest
            self._partial.check(part)
        except ChatfilesError as error:
            raise HeadRefused(error, part, whole=bool(end)) from None
        return None, received
