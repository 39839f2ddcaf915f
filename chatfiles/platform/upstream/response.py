"""
The response of a workspace.  Its body is delivered as it arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IClientRequest, IResponse
from zope.interface import implementer

from chatfiles.http.message_head.response import ResponseHead
from chatfiles.streams.splice import SpliceSource

__all__ = ["COMPLETE", "UpstreamResponse", "headers_of", "known_headers"]

#: The end of a body of which nothing is missing.
COMPLETE = Failure(ResponseDone())

#: Headers that are removed: those of the connection, and cookies, which treq would store.
_NOT_PASSED_ON = frozenset(
    {
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-connection",
        b"set-cookie",
        b"set-cookie2",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


#: Headers of responses that are remembered.
_HEADERS = 4096


@implementer(IResponse, IPushProducer)
class UpstreamResponse:
    """
    A response.  It is the transport of the protocol that takes its body: it pauses, resumes or
    stops the connection until the body has ended, and does nothing after that.

    Its status and headers come from a `ResponseHead`.

    :param request: the request that this responds to.
    :param transport: pauses and resumes the connection; its ``stopProducing`` aborts it.
    :param via: how the workspace was reached, for the logs.
    """

    def __init__(
        self, head: ResponseHead, request: IClientRequest, transport: Any, via: str
    ) -> None:
        self.via = via
        self.code = head.status
        self.request = request
        self.length: Any = _length(head)
        self.head = head
        kept = head.length if request.method == b"HEAD" else None
        find = known_headers if head.usual else headers_of
        self.headers = find(head.fields, kept)
        self.previousResponse: IResponse | None = None
        self._transport = transport
        self._protocol: Any = None
        self._waiting: list[bytes] = []  # of the body, before it has a protocol
        self._end: Failure | None = None
        self._ended: Callable[[], object] | None = None
        self._paused = False

    @property
    def version(self) -> tuple[bytes, int, int]:
        """The version of HTTP, as in ``IResponse``."""
        return b"HTTP", 1, int(self.head.version[-1:])

    @property
    def phrase(self) -> bytes:
        """The reason phrase."""
        return self.head.phrase

    def setPreviousResponse(self, response: IResponse) -> None:
        """Part of ``IResponse``: store the redirect that led here.  The platform follows none."""
        self.previousResponse = response

    def deliverBody(self, protocol: IProtocol) -> None:
        """
        Deliver the body to *protocol* as it arrives.  Its ``connectionLost`` is called with
        ``ResponseDone`` when the body is complete, with ``ResponseFailed`` when it was interrupted.

        :raise RuntimeError: the body is being delivered already.
        """
        if self._protocol is not None:
            raise RuntimeError("the body is being delivered already")
        self._protocol, self._ended = protocol, None
        # As in Twisted's own client, the protocol gets a producer, which is less than a transport.
        transport: Any = self
        protocol.makeConnection(transport)
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            protocol.dataReceived(data)
        if self._end is not None:
            protocol.connectionLost(self._end)
        elif self._transport is not None and not self._paused:
            self._transport.resumeProducing()

    @property
    def whole(self) -> bytes | None:
        """The body, if all of it arrived before it was delivered to a protocol."""
        is_complete = self._end is COMPLETE and self._protocol is None
        return b"".join(self._waiting) if is_complete else None

    def is_coming(self, most: int) -> bool:
        """:return: whether the body has not ended, and is known to have at most *most* bytes."""
        return self._end is None and self.head.length is not None and self.head.length <= most

    def collect(self, ended: Callable[[], object]) -> None:
        """
        Keep the rest of a body in memory, until it is delivered to a protocol.

        :param ended: called when the body has ended before that, complete or not.
        """
        self._ended = ended
        self.resumeProducing()

    def with_body(self, body: bytes) -> UpstreamResponse:
        """
        :param body: the body, which was delivered to a protocol.
        :return: this response, whose body can be delivered again.
        """
        response = UpstreamResponse(self.head, self.request, None, self.via)
        response.body_received(body)
        response.body_ended(COMPLETE)
        return response

    def splice_source(self) -> SpliceSource | None:
        """:return: the connection, if the rest of the body may be read from its socket."""
        return None if self._transport is None else self._transport.splice_source()

    # -- for the connection

    def body_received(self, data: bytes) -> None:
        """Deliver *data*, which is a part of the body."""
        if self._protocol is None:
            self._waiting.append(data)
        else:
            self._protocol.dataReceived(data)

    def body_ended(self, reason: Failure) -> None:
        """
        The body has ended.

        :param reason: `COMPLETE`, or a failure with ``ResponseFailed``.
        """
        self._transport = None
        self._end = reason
        if self._protocol is not None:
            self._protocol.connectionLost(reason)
        elif self._ended is not None:
            ended, self._ended = self._ended, None
            ended()

    # -- for what takes the body (IPushProducer)

    def pauseProducing(self) -> None:
        """Pause the connection."""
        self._paused = True
        if self._transport is not None:
            self._transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Resume the connection."""
        self._paused = False
        if self._transport is not None:
            self._transport.resumeProducing()

    def stopProducing(self) -> None:
        """Abort the connection; the body ends as interrupted."""
        if self._transport is not None:
            self._transport.stopProducing()

    def loseConnection(self) -> None:
        """As `stopProducing`."""
        self.stopProducing()


def _length(head: ResponseHead) -> Any:
    if not head.has_body:
        return 0
    return UNKNOWN_LENGTH if head.length is None else head.length


def headers_of(fields: tuple[tuple[bytes, bytes], ...], length: int | None) -> Headers:
    """
    :param fields: the headers of a response.
    :param length: its declared length in bytes; ``None`` if that is no header here.
    :return: the headers without those of the connection.
    """
    headers = Headers()
    for name, value in fields:
        if name not in _NOT_PASSED_ON:
            headers.addRawHeader(name, value)
    if length is not None:
        headers.setRawHeaders(b"content-length", [b"%d" % length])
    return headers


#: As `headers_of`, for usual headers.  The result is shared.  treq sets its Content-Encoding, but
#: always to the same value; nothing else may change it.
known_headers = lru_cache(_HEADERS)(headers_of)
