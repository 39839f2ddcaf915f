"""
Chunked bodies (RFC 9112, 7.1): Twisted's decoder, held to what the RFC says.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from twisted.web.http import _ChunkedTransferDecoder, _MalformedChunkedDataError

from chatfiles.errors import BadRequest
from chatfiles.http.request_head import check_field_line

__all__ = ["CROWD", "ChunkedBody"]

#: More bytes than any chunk has: a size that was to overflow a counter.
MAX_CHUNK_BYTES = 1 << 60

#: Chunks in one read from which on they are too many: the parser takes 2.5 µs for each.
CROWD = 1000

_LAST_CHUNK = re.compile(rb"(?:\A|\r\n)0+(?:;[^\r\n]*)?\r\n")


class ChunkedBody(_ChunkedTransferDecoder):
    """
    Refuses as soon as it can be told: sizes that cannot be meant, lines that end in a bare LF, and
    trailers that are no field lines (Twisted looks at no trailer:
    https://github.com/twisted/twisted/issues/12014).

    :param received: called once with what one read brought, into however many chunks that was
        divided: a sender who makes chunks of one byte must not make us work for each.
    :param finished: called with what follows the body.
    :param crowded: called when a read held too many chunks: the next one should be smaller.
    """

    def __init__(
        self,
        received: Callable[[bytes], None],
        finished: Callable[[bytes], None],
        crowded: Callable[[], None] = lambda: None,
    ) -> None:
        self._pieces: list[bytes] = []
        self._received = received
        self._finished = finished
        self._crowded = crowded
        super().__init__(self._pieces.append, self._end)

    def dataReceived(self, data: bytes) -> None:
        """Some bytes of the coded body."""
        try:
            super().dataReceived(data)
        finally:
            self._flush()

    def _end(self, rest: bytes) -> None:
        self._flush()
        self._finished(rest)

    def _flush(self) -> None:
        if len(self._pieces) > CROWD:
            self._crowded()
        if self._pieces:
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            self._received(data)

    def may_end_with(self, tail: bytes) -> bool:
        """
        :param tail: the last bytes of what has not been read yet.
        :return: whether the last chunk may be among them; it is certain only when it is not.
        """
        return self.state == "TRAILER" or bool(_LAST_CHUNK.search(bytes(self._buffer) + tail))

    def _dataReceived_CHUNK_LENGTH(self) -> bool:
        has_line: bool = super()._dataReceived_CHUNK_LENGTH()
        if self.length >= MAX_CHUNK_BYTES if has_line else b"\n" in self._buffer:
            raise _MalformedChunkedDataError("malformed chunk size")
        return has_line

    def _dataReceived_TRAILER(self) -> bool:
        seen = len(self._trailerHeaders)
        has_line: bool = super()._dataReceived_TRAILER()
        try:
            for line in self._trailerHeaders[seen:]:
                check_field_line(bytes(line))
        except BadRequest as error:
            raise _MalformedChunkedDataError(error.text) from None
        if not has_line and b"\n" in self._buffer:
            raise _MalformedChunkedDataError("malformed trailer")
        return has_line
