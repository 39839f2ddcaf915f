"""
The fast path: serves usual requests with few objects.

A usual request is a ``GET`` or ``HEAD`` in HTTP/1.1, with one bearer token and no body.  Each role
decides which of them it can serve at once.  All others take the ordinary path, before a byte of the
response was sent.  Both paths give the same bytes: the ordinary one decides what they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple, Protocol, cast

from twisted.logger import Logger
from twisted.web.http_headers import Headers

from chatfiles.errors import ChatfilesError
from chatfiles.http.message_head.request import MAX_HEAD_BYTES, RequestHead, read_head
from chatfiles.http.message_head.rules import MAX_HEADER_LINES
from chatfiles.http.server.interfaces import FastConnection
from chatfiles.http.server.observers import NOTHING, Actor, TransferEnded
from chatfiles.http.server.request import Request
from chatfiles.http.server.request_body import RequestBody
from chatfiles.model import token_hash
from chatfiles.rules.bearer import bearer
from chatfiles.rules.file_headers import FORWARDED_REQUEST_HEADERS
from chatfiles.rules.header_fields import HeaderValues
from chatfiles.rules.trace_context import TraceContext, trace_context
from chatfiles.streams.outcome import Outcome

__all__ = ["FastPath", "FastRequest", "FastRoutes", "UsualHeaders"]

_log = Logger()

#: Bytes of a usual target: the roles remember some.
MAX_TARGET = 512
#: Header blocks whose meaning is remembered, and the bytes of the longest of them.
_BLOCKS, _LONGEST = 1024, 2048
_LINE = re.compile(rb"(GET|HEAD) (/[!\"$-~]*) HTTP/1\.1\r\n")
# A proxy, such as our platform, gives each request another id.  So it is no part of the key.
_ID = b"\r\nX-Request-Id: "
_LAST_ID = re.compile(_ID + rb"([A-Za-z0-9._-]{1,64})\r\n\Z")
_END = b"\r\n\r\n"
_FIRST_LINE = b"GET / HTTP/1.1\r\n"
_TRACE = re.compile(rb"(?:(?<=\r\n)|\A)(?:traceparent|tracestate):[ -~]*\r\n", re.IGNORECASE)
#: Headers that are kept: those about versions and parts of the file.
_CONDITIONS = frozenset(name.lower() for name in FORWARDED_REQUEST_HEADERS)


class UsualHeaders(NamedTuple):
    """
    What the headers of a usual request say.

    :param digest: the `token_hash` of the bearer token.
    :param request_id: the values of ``X-Request-Id``.
    :param forwarded_for: the values of ``X-Forwarded-For``.
    :param via: whether there is a ``Via``.
    :param persistent: whether another request may follow.
    :param conditions: the headers about versions and parts of the file; empty without any.
    :param trace: the trace that the request belongs to.
    """

    digest: bytes
    request_id: tuple[bytes, ...]
    forwarded_for: tuple[bytes, ...]
    via: bool
    persistent: bool
    conditions: HeaderValues
    trace: TraceContext | None = None


class FastRoutes(Protocol):
    """Serves the usual requests of a role."""

    def serve(self, request: FastRequest, /) -> bool:
        """
        Serve *request*, now or later, or decline it.

        :return: whether it is served.  If not, nothing was sent.
        """


#: The body of a request that has none.
_NO_BODY = RequestBody(cast("Any", None), 0, expects_continue=False)


class FastRequest:
    """
    A request on the fast path.  A connection treats it like a `Request`.

    :param connection: on which it arrived.
    :param received: its request line and headers.
    :param method: ``GET`` or ``HEAD``.
    :param target: path and query, printable ASCII.
    :param headers: what its headers say.
    :param request_id: its id, valid.
    :ivar operation: its name in the log.
    :ivar workspace: the id of its workspace for the log, if that is not the site's.
    :ivar via_proxy: as in `Request`.
    :ivar actor: as in `Request`; so are *via* and *touched*.
    :ivar outcome: how it ended; empty while it is served.
    :ivar cancel: is called when the client disconnects, or the server stops.
    :ivar release: is called once, when the request no longer needs what it has taken; see
        `chatfiles.http.server.transfer.Transfer.own`.
    """

    __slots__ = (
        "_received",
        "actor",
        "cancel",
        "connection",
        "ends_with_client",
        "headers",
        "method",
        "operation",
        "outcome",
        "release",
        "request_id",
        "started",
        "target",
        "touched",
        "via",
        "via_proxy",
        "workspace",
    )

    body = _NO_BODY
    bytes_out, counted = 0, (0, 0)  # all bytes are sent when it ends

    def __init__(
        self,
        connection: FastConnection,
        received: bytes,
        method: bytes,
        target: bytes,
        headers: UsualHeaders,
        request_id: str,
    ) -> None:
        self.connection = connection
        self._received = received
        self.method = method
        self.target = target
        self.headers = headers
        self.request_id = request_id
        self.operation = self.workspace = self.outcome = self.via = ""
        self.actor: Actor | None = None
        self.touched: Mapping[str, Any] = NOTHING
        self.ends_with_client = False
        self.via_proxy = False
        self.cancel: Callable[[], object] = _nothing
        self.release: Callable[[], object] = _nothing
        self.started = connection.site.reactor.seconds()

    def respond(self, status: int, start: bytes, fields: bytes, body: bytes | bytearray) -> None:
        """
        Send the response, which is complete.

        :param status: such as 200.
        :param start: the status and its reason phrase, such as ``200 OK``.
        :param fields: the lines of the headers that describe the file, each with its CRLF.
        :param body: the whole body; empty if there is none.
        """
        connection, site = self.connection, self.connection.site
        close = b"Connection: close\r\n"
        first = last = b""
        if not connection.persistent:
            first = close
        elif site.draining:
            connection.persistent, last = False, close
        connection.send_now(
            b"HTTP/1.1 %b\r\n%bServer: chatfiles\r\nDate: %b\r\nX-Request-Id: %b\r\n%b%b\r\n"
            % (start, first, site.http_date(), self.request_id.encode(), fields, last),
            body,
        )
        self.outcome = self.outcome or Outcome.COMPLETE
        site.fast_path.served += 1
        self._end(status, len(body), fields)
        connection.requestDone(self)

    def hand_over(self) -> Request:
        """
        Let the ordinary path continue.  Nothing may have been sent.

        :return: the same request for the ordinary path, which must serve it.
        """
        request: Request = self.connection.new_request()
        request.begin(self.head, request_id=self.request_id, started=self.started)
        request.operation, request.workspace = self.operation, self.workspace
        request.actor, request.touched = self.actor, self.touched
        request.ends_with_client = self.ends_with_client
        release, self.release = self.release, _nothing
        request.transfer.own(release)
        return request

    @property
    def head(self) -> RequestHead:
        """The request line and headers, parsed."""
        return read_head(self._received.removesuffix(_END))

    # -- for the connection

    def let_go(self) -> None:
        """The request is not served any more."""
        release, self.release = self.release, _nothing
        release()

    @property
    def has_ended(self) -> bool:
        """As in `Request`."""
        return self.outcome != ""

    @property
    def relayed(self) -> bool:
        """As in `Request`."""
        return self.via_proxy or self.connection.site.is_relayed(self.connection.peer)

    def abort(self, outcome: str) -> None:
        """:param outcome: why the connection is going to be reset."""
        self.outcome = self.outcome or outcome
        cancel, self.cancel = self.cancel, _nothing
        cancel()

    def connectionLost(self, reason: object) -> None:
        """The client disconnected, or the server reset the connection."""
        self.abort(Outcome.CLIENT_LEFT)
        self._end(0, 0, b"")

    def _end(self, status: int, sent: int, fields: bytes) -> None:
        self.let_go()
        site, trace = self.connection.site, self.headers.trace
        seconds = site.reactor.seconds() - self.started
        site.notify_ended(
            TransferEnded(
                self.request_id,
                self.workspace or site.workspace,
                self.operation,
                status,
                sent,
                seconds,
                self.outcome,
                site.client_of(self.connection.peer, self.headers.forwarded_for),
                self.actor,
                trace.trace_id if trace is not None else "",
                0,
                sent,
                seconds if status else None,
                self.via,
                "",
                self.touched,
                fields,
                (0, 0),
                self.connection,
            )
        )


class FastPath:
    """
    Recognises usual requests.

    :param routes: serves them.
    :ivar served: number of responses that the fast path has sent.
    """

    def __init__(self, routes: FastRoutes) -> None:
        self.served = 0
        self._routes = routes
        self._known: dict[bytes, UsualHeaders | None] = {}

    def recognise(self, connection: FastConnection, received: bytes) -> FastRequest | None:
        """
        :param connection: on which the bytes arrived.
        :param received: all bytes received, starting with the first byte of the request line.
        :return: the request, if they are exactly one usual request.
        """
        line = _LINE.match(received)
        end = len(received) - len(_END)
        if line is None or received.find(_END, line.end() - 2) != end or end > MAX_HEAD_BYTES:
            return None
        site = connection.site
        if len(line[2]) > MAX_TARGET or site.draining or site.refusal() is not None:
            return None
        block = received[line.end() : -2]
        id_at = block.rfind(_ID)
        last_id = _LAST_ID.match(block, id_at) if id_at >= 0 else None
        if last_id is not None:
            block = block[: id_at + 2]
        last_block, headers = connection.usual_headers
        if block != last_block:
            headers = self._meaning_with_trace(block)
            if len(block) <= _LONGEST:
                connection.usual_headers = block, headers
        if headers is None:
            return None
        if last_id is not None and not headers.request_id:
            request_id = last_id[1].decode("ascii")
        else:
            given = headers.request_id if last_id is None else (*headers.request_id, last_id[1])
            request_id = site.request_id(given)
        return FastRequest(connection, received, line[1], line[2], headers, request_id)

    def serve(self, request: FastRequest) -> bool:
        """:return: whether *request* is served; see `FastRoutes.serve`.  Errors are logged."""
        try:
            return self._routes.serve(request)
        except Exception:
            _log.failure("the fast path failed")
            request.let_go()
            return request.outcome != ""  # the response was sent before

    def _meaning_with_trace(self, block: bytes) -> UsualHeaders | None:
        """As `_meaning`.  The lines of the trace, which often change, are not remembered."""
        rest, count = _TRACE.subn(b"", block)
        headers = self._meaning(rest)
        if not count or headers is None:
            return headers
        try:
            fields = read_head(_FIRST_LINE + block.removesuffix(b"\r\n")).fields
        except ChatfilesError:
            return None
        if len(fields) >= MAX_HEADER_LINES:
            return None
        given: dict[bytes, list[bytes]] = {}
        for name, value in fields:
            given.setdefault(name, []).append(value)
        trace = trace_context(given.get(b"traceparent", ()), given.get(b"tracestate", ()))
        return headers._replace(trace=trace)

    def _meaning(self, block: bytes) -> UsualHeaders | None:
        """:return: as `_usual`; what a short block means is remembered."""
        key = sha256(block).digest()  # the block holds a secret
        if key in self._known:
            return self._known[key]
        usual = _usual(block)
        if len(block) <= _LONGEST:
            if len(self._known) >= _BLOCKS:
                del self._known[next(iter(self._known))]
            self._known[key] = usual
        return usual


def _usual(block: bytes) -> UsualHeaders | None:
    """:return: what the header lines of *block* say; ``None`` if something in them is not usual."""
    try:
        head = read_head(_FIRST_LINE + block.removesuffix(b"\r\n"))
    except ChatfilesError:
        return None
    if len(head.fields) >= MAX_HEADER_LINES:  # the id is one more
        return None
    headers, conditions = Headers(), HeaderValues()
    for name, value in head.fields:
        headers.addRawHeader(name, value)
        if name in _CONDITIONS:
            conditions.setdefault(name, []).append(value)
    presented = bearer(headers)
    if presented is None or head.length != 0 or head.expects_continue:
        return None
    return UsualHeaders(
        token_hash(presented),
        tuple(headers.getRawHeaders(b"x-request-id", ())),
        tuple(headers.getRawHeaders(b"x-forwarded-for", ())),
        headers.hasHeader(b"via"),
        head.persistent,
        conditions,
    )


def _nothing() -> None:
    pass
