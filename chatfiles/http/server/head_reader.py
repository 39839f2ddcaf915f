"""
Reads the request line and headers that a connection waits for, and has their deadline.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from chatfiles.errors import ChatfilesError
from chatfiles.http.message_head import request as request_head
from chatfiles.http.message_head.request import RequestHead

__all__ = ["HeadReader", "HeadRefused", "is_blank"]

_END = b"\r\n\r\n"


def is_blank(received: bytes) -> bool:
    """:return: whether *received* may be an empty line before a request line (RFC 9112, 2.2)."""
    return received in (b"", b"\r", b"\r\n")


class HeadRefused(Exception):
    """
    A request line or its headers are refused.

    :ivar error: the reason.
    :ivar part: the bytes of them that have been received.
    :ivar whole: whether *part* is complete.
    """

    def __init__(self, error: ChatfilesError, part: bytes, *, whole: bool = False) -> None:
        super().__init__(error)
        self.error = error
        self.part = part
        self.whole = whole


class HeadReader:
    """
    Reads the request line and headers of one request after the other.

    :param clock: for the deadline.
    :param timeout: seconds in total for one request line and its headers.
    :ivar by: the deadline, on *clock*; ``None`` if it has not been started.  The fast path ends it.
    """

    def __init__(self, clock: IReactorTime, timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout
        self._partial = request_head.PartialHead()
        self.by: float | None = None

    def begin(self) -> None:
        """Start the deadline; idempotent."""
        if self.by is None:
            self.by = self._clock.seconds() + self._timeout

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the deadline; ``None`` if it has not been started."""
        return None if self.by is None else self.by - self._clock.seconds()

    def read(self, received: bytes) -> tuple[RequestHead | None, bytes]:
        """
        :param received: all bytes received, starting with the first byte of the request line.
        :return: the request line and headers, and the bytes after them; ``None`` and *received*
            while they are incomplete.
        :raise HeadRefused: they are refused, whatever the next bytes are.
        """
        part, end, rest = received.partition(_END)
        if len(part) > request_head.MAX_HEAD_BYTES + (0 if end else len(_END) - 1):
            raise HeadRefused(request_head.too_large(received), received)
        try:
            if end:
                self._partial, self.by = request_head.PartialHead(), None
                return request_head.read_head(part), rest
            self._partial.check(part)
        except ChatfilesError as error:
            raise HeadRefused(error, part, whole=bool(end)) from None
        return None, received
