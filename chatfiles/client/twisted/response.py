"""
A response in the reactor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import h11
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import UNKNOWN_LENGTH

from chatfiles.client.core.errors import Incomplete
from chatfiles.client.twisted.body import BodyReader
from chatfiles.client.twisted.exchange import EarlyResponse, Exchange

__all__ = ["AsyncResponse", "early_response", "response_of"]


class AsyncResponse:
    """
    See `chatfiles.client.core.steps.Response`.

    :param headers: names in lower case, and values.
    :param reader: receives the body.
    :param end: ends the connection.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        headers: Sequence[tuple[bytes, bytes]],
        *,
        length: int | None,
        framed: bool,
        reader: BodyReader,
        end: Callable[[], object],
    ) -> None:
        self.status = status
        self.reason = reason
        self.length = length
        self.framed = framed
        self.reader = reader
        self.received = 0
        self._headers = headers
        self._end = end

    def values(self, name: str) -> Sequence[str]:
        """See `Response`."""
        wanted = name.lower().encode("ascii")
        return [value.decode("latin-1") for key, value in self._headers if key == wanted]

    def close(self) -> None:
        """See `Response`."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def interrupted(self, how: str) -> Incomplete:
        """:return: the error for a body that did not end as it should."""
        of = "" if self.length is None else f" of {self.length}"
        return Incomplete(
            f"the response {how} after {self.received}{of} bytes",
            done=self.received,
            total=self.length,
            transient=True,
        )


def response_of(received: Any, exchange: Exchange) -> AsyncResponse:
    reader = BodyReader()
    response = AsyncResponse(
        received.code,
        received.phrase.decode("latin-1"),
        [
            (name.lower(), value)
            for name, values in received.headers.getAllRawHeaders()
            for value in values
        ],
        length=None if received.length is UNKNOWN_LENGTH else received.length,
        framed=exchange.framed,
        reader=reader,
        end=partial(_end, exchange, reader),
    )
    received.deliverBody(reader)
    return response


def _end(exchange: Exchange, reader: BodyReader) -> None:
    if not exchange.abort():  # another agent has made the connection
        reader.stop()


def early_response(early: EarlyResponse) -> AsyncResponse:
    reader = BodyReader()
    if early.body:
        reader.dataReceived(early.body)
    reader.connectionLost(Failure(ResponseDone()))
    head: h11.Response = early.begun
    return AsyncResponse(
        head.status_code,
        bytes(head.reason).decode("latin-1"),
        [(bytes(name), bytes(value)) for name, value in head.headers],
        length=len(early.body),
        framed=True,
        reader=reader,
        end=lambda: None,
    )
