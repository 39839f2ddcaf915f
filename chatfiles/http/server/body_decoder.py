"""
Decodes the transfer coding of a request's body, as it arrives on the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from chatfiles.errors import BadRequest
from chatfiles.http.chunked import ChunkedDecoder, MalformedChunks
from chatfiles.http.server.request_body import RequestBody

__all__ = ["BodyDecoder", "body_decoder", "feed_body"]

Receive = Callable[[bytes], object]


class BodyDecoder(Protocol):
    """Decodes the body of one request."""

    def feed(self, data: bytes, /) -> None:
        """
        :param data: the next bytes from the connection: of the body, and perhaps after it.
        :raise MalformedChunks: the body breaks a rule of the chunked coding.
        """


def body_decoder(
    left: Callable[[], int] | None,
    received: Receive,
    finished: Receive,
    crowded: Callable[[], object],
) -> BodyDecoder:
    """
    :param left: returns how many bytes of the body are to come; ``None`` for a chunked body.
    :param received: called with each part of the body.  Of a chunked body it is called once for
        each read, with the bytes of all chunks in it.
    :param finished: called once, with the bytes that follow the body.
    :param crowded: called if a read contains too many chunks: the next read should be smaller.
    :return: the decoder of one body.
    """
    if left is None:
        return _ChunkedBody(received, finished, crowded)
    return _FixedLengthBody(left, received, finished)


def feed_body(decoder: BodyDecoder, data: bytes, body: RequestBody) -> None:
    """
    :param decoder: of *body*, which fails if *data* is malformed.
    :param data: the next bytes from the connection.
    """
    if body.failed:
        return  # the rest of a body that cannot be completed has no meaning
    try:
        decoder.feed(data)
    except MalformedChunks:
        body.fail(BadRequest("malformed request", code="malformed_request"))


class _FixedLengthBody:
    def __init__(self, left: Callable[[], int], received: Receive, finished: Receive) -> None:
        self._left = left
        self._received = received
        self._finished = finished

    def feed(self, data: bytes) -> None:
        left = self._left()
        self._received(data[:left])
        if len(data) >= left:
            self._finished(data[left:])


class _ChunkedBody:
    def __init__(self, received: Receive, finished: Receive, crowded: Callable[[], object]) -> None:
        self._received = received
        self._finished = finished
        self._crowded = crowded
        self._decoder = ChunkedDecoder()

    def feed(self, data: bytes) -> None:
        decoder = self._decoder
        body = decoder.feed(data)
        if decoder.crowded:
            self._crowded()
        if body:
            self._received(body)
        if decoder.complete:
            self._finished(decoder.rest)
