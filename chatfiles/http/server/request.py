"""
A request that is served from the end of its head on, and whose end is told once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import NO_BODY_CODES, toChunk

from chatfiles.http.request_head import RequestHead
from chatfiles.http.server.request_body import ClientDisconnected, RequestBody
from chatfiles.http.server.transfer import Outcome, State, Transfer

if TYPE_CHECKING:
    from chatfiles.http.server.connection import ServerConnection
    from chatfiles.http.server.site import Site

__all__ = ["KEEP_ALIVE_DRAIN", "Request"]

#: An unread rest of a body up to this many bytes is read and discarded, and the connection kept.
KEEP_ALIVE_DRAIN = 64 * 1024


class Request(server.Request):
    """
    One request.

    :ivar request_id: the caller's ``X-Request-Id`` where it is acceptable, else a new one.
    :ivar body: what is sent behind the head; it may still be on its way.
    :ivar fields: of the answer.
    :ivar peer: the address at the other end of its connection; ``None`` where it has none.
    :ivar operation: what the log calls it; empty for requests that are not logged.
    :ivar workspace: the workspace it is about, for the log, where that is not the site's.
    :ivar ends_with_caller: it is given up when the caller closes its side.
    :ivar transfer: its life and its one end.
    """

    channel: ServerConnection
    site: Site
    body: RequestBody
    transfer: Transfer
    fields: dict[bytes, bytes]
    request_id: str = "-"
    peer: str | None = None
    operation: str = ""
    workspace: str = ""
    ends_with_caller: bool = False
    started: float = 0.0

    _bodiless = False
    _serving: Deferred[Any] | None = None
    _finish_pending = False

    # -- for the channel

    def head_received(self, head: RequestHead) -> None:
        """Everything but the body is here: a request with a body is served from now on."""
        self.method, self.uri, self.clientproto = head.method, head.target, head.version
        self.path, _, self.query = head.target.partition(b"?")
        self.site, self.fields = self.channel.site, {}
        self.transfer = Transfer(self)
        self.peer = self.channel.peer
        self.started = self.site.reactor.seconds()
        for name, value in head.fields:
            self.requestHeaders.addRawHeader(name, value)
        self.body = RequestBody(self.channel, head.length, head.expects_continue)
        self.request_id = self.site.request_id(
            self.requestHeaders.getRawHeaders(b"x-request-id", ())
        )
        if head.version == b"HTTP/1.1" and not self.channel.persistent:
            self.setHeader(b"Connection", b"close")
        if head.length != 0:
            self.process()

    def handleContentChunk(self, data: bytes) -> None:
        """Twisted would write it to a file; we hand it on."""
        self.body.data_received(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The body, if there is one, is complete."""
        if self.body.complete:
            self.process()
            return
        self.body.completed()
        if self._finish_pending:
            super().finish()

    def connectionLost(self, reason: Failure) -> None:
        """The caller left, or we cut it off."""
        self.transfer.abort(Outcome.CLIENT_LEFT)
        super().connectionLost(reason)
        self.body.fail(ClientDisconnected())
        if self._serving is not None:
            self._serving.cancel()
        self.transfer.connection_lost()

    # -- for the resources

    def process(self) -> None:
        """Find the resource and let it answer."""
        self.setHeader(b"Server", b"chatfiles")
        self.setHeader(b"Date", self.site.http_date())
        self.setHeader(b"X-Request-Id", self.request_id.encode("ascii"))
        self.prepath = []
        self.postpath = [unquote_to_bytes(segment) for segment in self.path[1:].split(b"/")]
        self.site.request_begun(self)
        self.render(self.site.getResourceFor(self))

    def serve(self, serving: Deferred[Any]) -> None:
        """
        :param serving: what answers the request; it is cancelled when the caller leaves.
        """
        self._serving = serving
        if self._disconnected:
            serving.cancel()
        serving.addErrback(_ignore_cancellation)
        serving.addErrback(self._unserved)

    def _unserved(self, failure: Failure) -> None:
        self._log.failure("serving failed", failure)
        self.abort(Outcome.INTERNAL_ERROR)

    @property
    def disconnected(self) -> bool:
        """Whether nobody is there any more to read the answer, as far as we have noticed."""
        return bool(self._disconnected) or self.transfer.state is State.ABORTED

    @property
    def outcome(self) -> str:
        """See `Transfer.outcome`."""
        return self.transfer.outcome

    def is_awaited(self) -> bool:
        """
        Look whether somebody is there to read the answer; if not, the request is given up.

        :return: whether there is.
        """
        if not self.disconnected:
            self.channel.look()
        return not self.disconnected

    @property
    def relayed(self) -> bool:
        """Whether it comes from an intermediary, which takes the answer as its own caller does."""
        return self.site.is_relayed(self.peer, self.requestHeaders)

    @property
    def answered(self) -> bool:
        """Whether the answer is complete, while the body may not be."""
        return self._finish_pending

    def unregisterProducer(self) -> None:
        """As usual; harmless when the caller has left."""
        if self._disconnected:
            self.producer = None
        else:
            super().unregisterProducer()

    def setHeader(self, name: bytes, value: bytes) -> None:
        """
        Set a field of the answer; Twisted's collection of them costs as much as the rest of it.

        :param name: in the usual case, such as ``Content-Type``.
        :param value: without line ends.
        """
        self.fields[name] = value

    def write(self, data: bytes) -> None:
        """
        Send the head of the answer, unless that has been done, and some of its body.  Nothing is
        sent to a caller who has left, nor as the body of an answer that has none (RFC 9110, 6.4.1).
        """
        if self.finished or self._disconnected:
            return
        pieces = [] if self.startedWriting else [self._head()]
        if data and not self._bodiless:
            self.sentLength += len(data)
            pieces += toChunk(data) if self.chunked else (data,)
        if pieces:
            self.channel.writeSequence(pieces)

    def _head(self) -> bytes:
        self.startedWriting = 1
        self.transfer.head_sent()
        fields = self.fields
        # What follows may be the rest of a body that nobody will read.
        if self.site.draining or not (self.body.complete or self._drains()):
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
            raise ValueError("a field of the answer has a line end")
        return head + b"\r\n\r\n"

    def _drains(self) -> bool:
        body = self.body
        if body.failed or body.expects_continue or body.length is None:
            return False
        return body.length - body.seen <= KEEP_ALIVE_DRAIN

    def finish(self) -> None:
        """The answer is complete; idempotent, and harmless when the caller has left."""
        if self.disconnected or self.finished or self._finish_pending:
            return
        if not self.startedWriting:
            self.write(b"")
        self.transfer.last_byte()
        if self.body.complete:
            super().finish()
            self.transfer.finish()
            return
        if self.chunked:
            self.channel.write(b"0\r\n\r\n")
            self.chunked = 0  # Twisted would end the answer only behind the body of the request
        self._finish_pending = True
        self.transfer.finish()
        self.body.discard()
        if self.body.failed or not self.channel.persistent:
            self.channel.linger()

    def abort(self, outcome: Outcome | str) -> None:
        """
        Interrupt the connection, so that the client sees that the response is not complete.

        :param outcome: see `Transfer.abort`.
        """
        self.transfer.abort(outcome)
        if not self._disconnected and not self.finished:
            self.channel.abort()

    def transfer_ended(self) -> None:
        """For its transfer."""
        self.site.request_ended(self)


def _ignore_cancellation(failure: Failure) -> None:
    failure.trap(CancelledError)
