"""
Asks a platform for the upgrade, on one connection.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from chatfiles.http.chunked import ChunkedDecoder
from chatfiles.http.message_head.response import BadResponse, HeadScanner, ResponseHead
from chatfiles.rules.channel_upgrade import node_of, response_fault
from chatfiles.rules.header_fields import HeaderValues
from chatfiles.streams.transports import hand_over
from chatfiles.workspace.registration.client import RegistryResponse, json_object

__all__ = ["Refused", "Upgrade"]

#: Bytes of a refusal's body that are read.
MAX_BODY: Final = 16 * 1024


class Refused(Exception):
    """
    The platform does not upgrade.

    :param response: its response.
    """

    def __init__(self, response: RegistryResponse) -> None:
        super().__init__(response.complaint())
        self.response = response


class Upgrade(Protocol):
    """
    Sends the request, and reads the response.

    :param request: the request.
    :ivar accepted: fires when the platform has accepted: then `hand_over` or `close` must be called
        at once.  Fails with `Refused`, `BadResponse`, or why the connection was lost.  Cancelling
        it closes the connection.
    :ivar node: the id of the platform's node, if it has accepted and named one.
    """

    def __init__(self, request: bytes) -> None:
        self.accepted: Deferred[None] = Deferred(lambda _: self.close())
        self.node = ""
        self._request = request
        self._scanner = HeadScanner(b"GET", upgrade=True)
        self._head: ResponseHead | None = None
        self._chunks: ChunkedDecoder | None = None
        self._body = b""

    def connectionMade(self) -> None:
        """Send the request; under TLS it leaves when the platform has been verified."""
        self._wire.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        """Read the response."""
        if self.accepted.called:
            return
        try:
            if self._head is None:
                self._head = self._scanner.feed(data)
                if self._head is not None:
                    self._head_received(self._head)
            else:
                self._read_body(data)
        except Exception:
            self._fail(Failure())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is gone."""
        if self._head is not None:
            self._refuse()
        elif not self.accepted.called:
            self.accepted.errback(reason)

    def hand_over(self, protocol: Protocol) -> None:
        """
        Give the connection away.

        :param protocol: uses it from now on.  It receives what followed the response.
        """
        assert self._head is not None
        rest = self._head.rest
        hand_over(self._wire, protocol)
        if rest:
            protocol.dataReceived(rest)

    @property
    def _wire(self) -> Any:
        return self.transport

    def _head_received(self, head: ResponseHead) -> None:
        if head.status != 101:
            if head.chunked:
                self._chunks = ChunkedDecoder()
            self._read_body(head.rest)
            return
        fields = HeaderValues()
        for name, value in head.fields:
            fields.setdefault(name, []).append(value)
        if fault := response_fault(fields):
            raise BadResponse(f"101 that {fault}")
        self.node = node_of(fields)
        self.accepted.callback(None)

    def _read_body(self, data: bytes) -> None:
        head, chunks = self._head, self._chunks
        assert head is not None
        self._body += data if chunks is None else chunks.feed(data)
        length = (head.length or 0) if head.has_body else 0
        is_complete = len(self._body) >= length if chunks is None else chunks.complete
        if is_complete or len(self._body) > MAX_BODY:
            self._refuse()

    def _refuse(self) -> None:
        if self._head is not None and not self.accepted.called:
            fields = json_object(self._body)
            self._fail(Failure(Refused(RegistryResponse(self._head.status, 0, fields))))

    def _fail(self, failure: Failure) -> None:
        self.close()
        if not self.accepted.called:
            self.accepted.errback(failure)

    def close(self) -> None:
        """Close the connection at once."""
        if self.transport is not None:
            self._wire.abortConnection()
