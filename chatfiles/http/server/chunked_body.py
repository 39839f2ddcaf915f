"""
A chunked request body, in the shape that Twisted's ``HTTPChannel`` wants of a transfer decoder.
"""

from __future__ import annotations

from collections.abc import Callable

from chatfiles.http.chunked import ChunkedDecoder

__all__ = ["ChunkedBody"]


class ChunkedBody:
    """
    :param received: called once with what one read brought, into however many chunks that was
        divided.
    :param finished: called with the bytes behind the body.
    :param crowded: called when a read held too many chunks: the next read should be smaller.
    """

    def __init__(
        self,
        received: Callable[[bytes], object],
        finished: Callable[[bytes], object],
        crowded: Callable[[], object] = lambda: None,
    ) -> None:
        self._received = received
        self._finished = finished
        self._crowded = crowded
        self._decoder = ChunkedDecoder()
        self.may_end_with = self._decoder.may_end_with

    def dataReceived(self, data: bytes) -> None:
        """
        Decode the next bytes of the body.

        :raise MalformedChunks: the body breaks a rule.
        """
        decoder = self._decoder
        body = decoder.feed(data)
        if decoder.crowded:
            self._crowded()
        if body:
            self._received(body)
        if decoder.complete:
            self._finished(decoder.rest)
