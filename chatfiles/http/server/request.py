"""
A request that is served as soon as its headers are complete, while its body may still arrive.

Twisted serves a request only when its body is complete, and stores the body in memory or in a file:
https://github.com/twisted/twisted/issues/4688.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import NO_BODY_CODES, toChunk

from chatfiles.http.message_head.request import RequestHead
from chatfiles.http.server.interfaces import RequestConnection, RequestSite
from chatfiles.http.server.observers import NOTHING, Actor
from chatfiles.http.server.request_body import RequestBody
from chatfiles.http.server.transfer import State, Transfer
from chatfiles.rules.header_fields import header_lines
from chatfiles.rules.trace_context import TraceContext, trace_context
from chatfiles.streams.outcome import ClientLeft, Outcome

__all__ = ["KEEP_ALIVE_DRAIN", "Request"]

#: If at most this many bytes of a body are unread, they are discarded, and the connection persists.
KEEP_ALIVE_DRAIN = 64 * 1024
#: A part of a body that has so many bytes is passed to the socket without a copy.
SENT_AT_ONCE = 16 * 1024


class Request(server.Request):
    """
    One request; resources of ``twisted.web`` can serve it.

    :ivar request_id: the client's ``X-Request-Id`` if it is valid, else a new one.
    :ivar query: the bytes after the ``?`` of the target.
    :ivar body: the request's body, which may still be arriving.
    :ivar fields: the headers of the response.
    :ivar peer: the address of the connection's peer; ``None`` if it has none.
    :ivar operation: its name in the log; empty for requests that are not logged.
    :ivar workspace: the id of its workspace for the log, if that is not the site's.
    :ivar connection: on which it arrived; unlike ``channel``, also after the connection was lost.
    :ivar actor: the holder of its credential; ``None`` without a valid one.
    :ivar via: how its workspace is reached; empty before it is asked.
    :ivar rights: the change of rights that it asks for; empty without one.
    :ivar touched: what it touches, as fields of the audit log.
    :ivar counted: bytes of its bodies, in and out, that the metrics have counted already.
    :ivar write_error: takes the request, and a `chatfiles.http.server.responses.JSONResponse` that
        reports an error, and writes it in another form; ``None`` for JSON.
    :ivar ends_with_client: whether it is cancelled when the client closes its sending side (FIN).
    :ivar via_proxy: whether an authenticated client declares that it is a proxy (``Via``).
    :ivar transfer: the state of the request and its response.
    """

    channel: RequestConnection  # type: ignore[assignment]
    connection: RequestConnection
    site: RequestSite  # type: ignore[assignment]
    query: bytes
    body: RequestBody
    transfer: Transfer
    fields: dict[bytes, bytes]
    request_id: str = "-"
    peer: str | None = None
    operation: str = ""
    workspace: str = ""
    actor: Actor | None = None
    via: str = ""
    rights: str = ""
    touched: Mapping[str, Any] = NOTHING
    counted: tuple[int, int] = (0, 0)
    write_error: Callable[[Any, Any], None] | None = None
    ends_with_client: bool = False
    via_proxy: bool = False
    started: float = 0.0
    first_byte: float | None = None

    _logger = Logger()
    _bodiless = False
    _serving: Deferred[Any] | None = None
    _finish_pending = False
    _lost = False

    # -- for the connection

    def head_received(self, head: RequestHead) -> None:
        """
        Serve the request with this request line and headers.
        """
        self.begin(head)
        self.process()

    def begin(
        self, head: RequestHead, *, request_id: str = "", started: float | None = None
    ) -> None:
        """
        Set what the request line and headers say.

        :param request_id: its id, if it has one already.
        :param started: when its headers were complete, on the reactor's clock; ``None`` for now.
        """
        self.method, self.uri, self.clientproto = head.method, head.target, head.version
        self.path, _, self.query = head.target.partition(b"?")
        self.connection, self.site, self.fields = self.channel, self.channel.site, {}
        self.transfer = Transfer(self)
        self.peer = self.channel.peer
        self.started = self.site.reactor.seconds() if started is None else started
        for name, value in head.fields:
            self.requestHeaders.addRawHeader(name, value)
        self.body = RequestBody(self.channel, head.length, head.expects_continue)
        given = self.requestHeaders.getRawHeaders(b"x-request-id", ())
        self.request_id = request_id or self.site.request_id(given)
        if head.version == b"HTTP/1.1" and not self.channel.persistent:
            self.setHeader(b"Connection", b"close")
        self.setHeader(b"Server", b"chatfiles")
        self.setHeader(b"Date", self.site.http_date())
        self.setHeader(b"X-Request-Id", self.request_id.encode("ascii"))

    def data_received(self, data: bytes) -> None:
        """
        :param data: the next bytes of the body.
        """
        self.body.data_received(data)

    def body_received(self) -> None:
        """The body is complete."""
        self.body.completed()
        if self._finish_pending:
            super().finish()

    def connectionLost(self, reason: Failure) -> None:
        """The client disconnected, or the server reset the connection."""
        self._lost = True
        self.transfer.abort(Outcome.CLIENT_LEFT)
        super().connectionLost(reason)
        self.body.fail(ClientLeft())
        if self._serving is not None:
            self._serving.cancel()
        self.transfer.connection_lost()

    # -- for the resources

    def process(self) -> None:
        """Find the resource and let it respond."""
        self.prepath = []
        self.postpath = [unquote_to_bytes(segment) for segment in self.path[1:].split(b"/")]
        try:
            self.render(self.site.getResourceFor(self))
        except Exception:  # of a resource that is mounted beside ours
            self.serve(fail())

    def serve(self, serving: Deferred[Any]) -> None:
        """
        :param serving: fires when the response is complete.  It is cancelled when the client
            disconnects.  If it fails, the connection is reset.
        """
        self._serving = serving
        if self._lost:
            serving.cancel()
        serving.addErrback(_ignore_cancellation)
        serving.addErrback(self._unserved)

    def _unserved(self, failure: Failure) -> None:
        self._logger.failure("serving failed", failure)
        self.abort(Outcome.INTERNAL_ERROR)

    @property
    def takes_chunks(self) -> bool:
        """
        Whether the client can receive a body of unknown length.  HTTP/1.0 has no chunks, and a body
        that ends when the connection closes may be incomplete (RFC 9112, 8).
        """
        return self.method == b"HEAD" or self.clientproto != b"HTTP/1.0"

    @property
    def trace(self) -> TraceContext | None:
        """The trace that it belongs to; ``None`` if it names none."""
        headers = self.requestHeaders
        parents = headers.getRawHeaders(b"traceparent")
        if parents is None:
            return None
        return trace_context(parents, headers.getRawHeaders(b"tracestate", ()))

    @property
    def has_ended(self) -> bool:
        """Whether the observers were notified of its end."""
        return self.transfer.has_ended

    @property
    def bytes_out(self) -> int:
        """Number of bytes of the response's body that have been sent."""
        return max(self.sentLength, self.transfer.moved)

    @property
    def disconnected(self) -> bool:
        """Whether the client is known to have disconnected, or the server has aborted."""
        return self._lost or self.transfer.state is State.ABORTED

    def is_awaited(self) -> bool:
        """
        Check whether the client is still connected; if not, cancel the request.

        :return: whether it is connected.
        """
        if not self.disconnected:
            self.channel.check_client()
        return not self.disconnected

    @property
    def client_address(self) -> str:
        """The address of its client; ``-`` if it has none."""
        forwarded = self.requestHeaders.getRawHeaders(b"x-forwarded-for", ())
        return self.site.client_of(self.peer, forwarded)

    @property
    def relayed(self) -> bool:
        """Whether its client is a proxy, which reads the response as fast as its own client."""
        return self.via_proxy or self.site.is_relayed(self.peer)

    def unregisterProducer(self) -> None:
        """As in Twisted, but without effect on the connection if the client has disconnected."""
        if self._lost:
            self.producer = None
        else:
            super().unregisterProducer()

    def setHeader(self, name: bytes, value: bytes) -> None:
        """
        Set a header of the response.  Twisted's ``Headers`` are not used: they cost as much as the
        rest of the response.

        :param name: in the usual spelling, such as ``Content-Type``.
        :param value: must not contain a line end.
        """
        self.fields[name] = value

    def write(self, data: bytes) -> None:
        """
        Send a part of the body, after the status line and headers if they have not been sent.  If
        the client has disconnected, nothing is sent.  If the response must not have a body
        (RFC 9110, 6.4.1), *data* is ignored.

        :param data: a part of the body; it may be empty.
        :raise ValueError: a header contains a line end.
        """
        if self.finished or self._finish_pending or self._lost:
            return
        pieces = [] if self.startedWriting else [self._head()]
        if data and not self._bodiless:
            self.sentLength += len(data)
            pieces += toChunk(data) if self.chunked else (data,)
        if pieces and len(data) >= SENT_AT_ONCE:
            self.channel.send_now(*pieces)
        elif pieces:
            self.channel.writeSequence(pieces)

    def _head(self) -> bytes:
        self.startedWriting = 1
        self.first_byte = self.site.reactor.seconds() - self.started
        self.transfer.head_sent()
        fields = self.fields
        # The next bytes may be the rest of a body that will not be read.  A 408, also one of a
        # workspace, says that the rest is not waited for (RFC 9110, 15.5.9).
        waits = self.body.complete or (self._drains() and self.code != 408)
        if self.site.draining or not waits:
            self.channel.persistent = False
            fields[b"Connection"] = b"close"
        self._bodiless = self.method == b"HEAD" or self.code in NO_BODY_CODES
        if self.clientproto == b"HTTP/1.1" and not (self._bodiless or b"Content-Length" in fields):
            fields[b"Transfer-Encoding"] = b"chunked"
            self.chunked = 1
        lines = [b"%s %d %s" % (self.clientproto, self.code, self.code_message)]
        lines += [b"%s: %s" % field for field in fields.items()]
        head = b"\r\n".join(lines)
        if not head.count(b"\r") == head.count(b"\n") == len(lines) - 1:
            raise ValueError("a header of the response has a line end")
        return head + b"\r\n\r\n"

    def switch_protocols(self, fields: Sequence[tuple[bytes, bytes]], protocol: Protocol) -> None:
        """
        Accept an upgrade (RFC 9110, 7.8): send 101, and let another protocol use the connection.
        The request has ended after this.

        :param fields: further headers of the response.
        :param protocol: receives all that follows the request, if the client is still connected.
        """
        if self.disconnected:
            return
        self.code, self.startedWriting, self.finished = 101, 1, 1
        self.fields.update(fields)
        self.transfer.head_sent()
        self.transfer.last_byte()
        self.channel.write(
            b"HTTP/1.1 101 Switching Protocols\r\n%b\r\n" % header_lines(self.fields.items())
        )
        self.transfer.finish()
        self._serving = None  # it calls this, so it must not be cancelled
        self.channel.hand_over(protocol)

    def _drains(self) -> bool:
        body = self.body
        if body.failed or body.expects_continue or body.length is None:
            return False
        return body.length - body.seen <= KEEP_ALIVE_DRAIN

    def finish(self) -> None:
        """End the response; idempotent, and without effect if the client has disconnected."""
        if self.disconnected or self.finished or self._finish_pending:
            return
        if not self.startedWriting:
            self.write(b"")
        self.transfer.last_byte()
        if self.body.complete:
            self.transfer.finish()  # before the next request of the connection begins
            super().finish()
            return
        if self.chunked:
            self.channel.write(b"0\r\n\r\n")
            self.chunked = 0  # Twisted would end the response only after the request's body
        self._finish_pending = True
        self.transfer.finish()
        self.body.discard()
        self.channel.response_before_body()

    def abort(self, outcome: Outcome | str) -> None:
        """
        Reset the connection, so that the client sees that the response is incomplete.

        :param outcome: see `Transfer.abort`.
        """
        self.transfer.abort(outcome)
        if not self._lost and not self.finished:
            self.channel.abort()

    def transfer_ended(self) -> None:
        """Called by `Transfer` at its end."""
        self.site.request_ended(self)


def _ignore_cancellation(failure: Failure) -> None:
    failure.trap(CancelledError)
