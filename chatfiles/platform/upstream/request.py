"""
A request to a workspace, which writes itself to a connection.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IConsumer, ITransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer, IClientRequest
from zope.interface import implementer

from chatfiles.rules.header_fields import TOKEN
from chatfiles.streams.transports import send_now

__all__ = ["IWatchfulBody", "UpstreamRequest", "WrongBodyLength"]

_METHOD = re.compile(TOKEN)
_log = Logger()


class WrongBodyLength(Exception):
    """A body producer wrote more or fewer bytes than it had announced."""


class IWatchfulBody(IBodyProducer):
    """A body that watches how much of it the workspace has taken."""

    def sending_to(transport: ITransport) -> None:  # noqa: N805 — zope.interface
        """:param transport: the connection to the workspace.  Called before ``startProducing``."""

    def continued() -> None:
        """The workspace has sent ``100 Continue``.  May be called several times."""


@implementer(IClientRequest, IConsumer)
class UpstreamRequest:
    """
    One request on one connection.  It is the consumer of its body, and adds the chunks' framing.

    A request with a body is the last one on its connection: a response does not prove that the
    workspace has read the whole body.

    :param method: the method, bytes.
    :param target: path and query, visible ASCII.
    :param lines: header lines, each with its CRLF, without those that frame the body.
    :param body: produces the body, if there is one.
    :param uri: the whole URL.
    :param headers: the request's headers, for ``IClientRequest``.
    :raise ValueError: the method is malformed.
    """

    def __init__(
        self,
        method: bytes,
        target: bytes,
        lines: bytes,
        body: IBodyProducer | None = None,
        *,
        uri: bytes,
        headers: Headers | None = None,
    ) -> None:
        if not _METHOD.fullmatch(method):
            raise ValueError("malformed method")
        self.method = method
        self.absoluteURI = uri
        self.headers = headers or Headers()
        self.persistent = body is None
        self._target = target
        self._lines = lines
        self._body = body
        self._transport: Any = None
        self._left: int | None = None  # bytes of the body to come; None when it is chunked
        self._ended = False
        self._done: Callable[[], object]
        self._failed: Callable[[Failure], object]

    def write_to(
        self, transport: Any, done: Callable[[], object], failed: Callable[[Failure], object]
    ) -> None:
        """
        Write the headers, then the body as it is produced.  After `stop`, neither *done* nor
        *failed* is called.

        :param transport: the connection.
        :param done: called when the whole request has been written.
        :param failed: called with the failure of the body.
        """
        self._transport, self._done, self._failed = transport, done, failed
        parts = self.method, self._target, self._framing_lines(), self._lines
        send_now(transport, b"%b %b HTTP/1.1\r\n%b%b\r\n" % parts)
        if self._body is None:
            self._ended = True
            done()
        else:
            self._produce(self._body).addCallbacks(self._complete, self._fail)

    def _framing_lines(self) -> bytes:
        if self._body is None:
            return b"Content-Length: 0\r\n" if self.method in (b"POST", b"PUT") else b""
        if self._body.length is UNKNOWN_LENGTH:
            return b"Connection: close\r\nTransfer-Encoding: chunked\r\n"
        self._left = int(self._body.length)
        return b"Connection: close\r\nContent-Length: %d\r\n" % self._left

    def _produce(self, body: IBodyProducer) -> Deferred[None]:
        if IWatchfulBody.providedBy(body):
            body.sending_to(self._transport)
        self.registerProducer(body, True)
        produced: Deferred[None] = maybeDeferred(body.startProducing, self)
        return produced

    def _complete(self, _: object) -> None:
        if self._left:
            self._fail(Failure(WrongBodyLength("too few bytes were written")))
        elif not self._ended:
            if self._left is None:
                self._transport.write(b"0\r\n\r\n")
            self._end()
            self._done()

    def _fail(self, failure: Failure) -> None:
        if not self._ended:  # otherwise the rest of the body is not needed
            self._end()
            self._failed(failure)

    def continued(self) -> None:
        """The workspace is ready for the body (``100 Continue``)."""
        if not self._ended and IWatchfulBody.providedBy(self._body):
            self._body.continued()

    def stop(self) -> None:
        """Stop writing the body; does nothing if the whole body has been written."""
        if self._ended:
            return
        self._end()
        if self._body is not None:
            with _log.failuresHandled("while stopping the body of a request"):
                self._body.stopProducing()

    def _end(self) -> None:
        self._ended = True
        self.unregisterProducer()

    # -- for the body (IConsumer)

    def write(self, data: bytes) -> None:
        """Write *data*, which is a part of the body."""
        if self._ended or not data:  # an empty chunk would be the last one
            return
        if self._left is None:
            self._transport.writeSequence((b"%x\r\n" % len(data), data, b"\r\n"))
        elif len(data) > self._left:
            self.stop()
            self._failed(Failure(WrongBodyLength("too many bytes were written")))
        else:
            self.moved(len(data))
            send_now(self._transport, data)

    def moved(self, count: int) -> None:
        """:param count: so many bytes of a body of known length were written, here or elsewhere."""
        assert self._left is not None
        self._left -= count

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let the transport pause *producer*."""
        self._transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Undo `registerProducer`."""
        self._transport.unregisterProducer()
