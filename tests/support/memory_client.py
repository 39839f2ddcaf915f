"""
An in-memory client of a `Site` for tests, with a clock and a transport that behaves like a
socket's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource

from chatfiles.http.server.connection import ServerConnection
from chatfiles.http.server.idle_policy import IdlePolicy
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.http.server.site import Site
from tests.support.resources import Branch, Endpoint

HEADER_TIMEOUT, IDLE_TIMEOUT = 30.0, 60.0


class Wire(StringTransport):
    """As lenient as a TCP transport; `Caller.settle` notifies the protocol of a close."""

    aborted = False

    def __init__(self) -> None:
        super().__init__(lenient=True)

    def abortConnection(self) -> None:
        self.aborted = self.disconnecting = True

    def unregisterProducer(self) -> None:
        self.producer = None


@dataclass(frozen=True)
class Received:
    """One response, as a client receives it."""

    version: str
    status: int
    fields: dict[str, str]
    body: bytes
    complete: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def _chunks(data: bytes) -> tuple[bytes, bool, bytes]:
    body = b""
    while b"\r\n" in data:
        size_line, rest = data.split(b"\r\n", 1)
        size = int(size_line, 16)
        body += rest[:size]
        if size == 0:
            return body, rest.startswith(b"\r\n"), rest[2:]
        data = rest[size + 2 :]
    return body, False, b""


def parse(data: bytes, *, head: bool = False) -> list[Received]:
    """
    :param data: everything that was received, in response to ``HEAD`` requests if `head` is true.
    :return: the responses; interim ones have a status below 200.
    """
    answers = []
    while data:
        top, _, data = data.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        version, status = first.split(" ")[:2]
        fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        if len(fields) != len(lines):
            raise AssertionError(f"a field is given twice: {lines}")
        body, complete = b"", True
        if head or int(status) < 200 or int(status) in (204, 304):
            pass
        elif fields.get("transfer-encoding") == "chunked":
            body, complete, data = _chunks(data)
        elif "content-length" in fields:
            length = int(fields["content-length"])
            body, data = data[:length], data[length:]
            complete = len(body) == length
        else:
            body, data = data, b""
        answers.append(Received(version, int(status), fields, body, complete))
    return answers


class CountingSite(Site):
    """
    A site that counts.

    :ivar running: the number of requests that are being served.
    """

    running = 0

    def getResourceFor(self, request: Any) -> Any:
        self.running += 1
        return super().getResourceFor(request)

    def request_ended(self, request: Request) -> None:
        self.running -= 1
        super().request_ended(request)


class Caller:
    """
    A client with one connection to a site.

    :param root: the root resource of a new site; or
    :param site: the site of another client, for one more connection to it.
    :param wire: the transport, if a special one is needed.
    :param policy: of the connection, if it is not that of the site.
    :param more: arguments of the new site.
    """

    def __init__(
        self,
        root: Resource | None = None,
        *,
        site: Site | None = None,
        wire: Wire | None = None,
        policy: IdlePolicy | None = None,
        **more: Any,
    ) -> None:
        if site is None:
            ids = count(1)
            site = CountingSite(
                root or Resource(),
                Clock(),
                header_timeout=HEADER_TIMEOUT,
                idle_timeout=IDLE_TIMEOUT,
                new_request_id=lambda: f"new-{next(ids)}",
                now=lambda: 1_000_000_000.0,
                **more,
            )
        self.site: Any = site
        self.clock: Any = site.reactor
        self.channel: ServerConnection = (
            site.buildProtocol(None) if policy is None else site.new_connection(policy)
        )
        self.wire = wire or Wire()
        self.lost = False
        self._unread = b""
        self.channel.makeConnection(self.wire)

    def send(self, *pieces: bytes) -> Caller:
        """Send each piece as one segment; what the server does not read now, it may read later."""
        for piece in pieces:
            self._unread += piece
            self.settle()
        return self

    def settle(self) -> None:
        """Let the transport do what it has been asked to do."""
        while not self.wire.disconnecting and self._unread and self.reading:
            data, self._unread = self._unread, b""
            self.channel.dataReceived(data)
        if self.wire.disconnecting and not self.lost:
            self.leave(ConnectionAborted() if self.wire.aborted else ConnectionDone())

    def leave(self, reason: Exception | None = None) -> None:
        """End the connection."""
        self.lost = True
        self.channel.connectionLost(Failure(reason or ConnectionDone()))

    def advance(self, seconds: float) -> None:
        """Advance the clock."""
        self.clock.advance(seconds)
        self.settle()

    @property
    def reading(self) -> bool:
        """Whether the server reads from the connection."""
        return self.wire.producerState == "producing"

    def answers(self, *, head: bool = False) -> list[Received]:
        return parse(self.wire.value(), head=head)

    def answer(self, *, head: bool = False) -> Received:
        """The only response."""
        (answer,) = self.answers(head=head)
        return answer


class Echo(Endpoint):
    """Responds with the path and the body; records the paths of requests."""

    operation = "echo"
    isLeaf = True

    def __init__(self, limit: int = 1000) -> None:
        super().__init__()
        self.limit = limit
        self.served: list[bytes] = []

    async def render_GET(self, request: Request) -> JSONResponse:
        self.served.append(request.path)
        body = await request.body.read(self.limit)
        return JSONResponse(200, {"path": request.path.decode(), "body": body.decode("latin-1")})

    render_POST = render_GET


class Held(Endpoint):
    """Responds when a test says so; the body is left to the test."""

    operation = "held"
    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.answers: list[Deferred[Any]] = []

    async def render_GET(self, request: Request) -> JSONResponse | None:
        self.requests.append(request)
        self.answers.append(Deferred())
        answer: JSONResponse | None = await self.answers[-1]
        return answer

    render_POST = render_GET

    def answer(self, answer: JSONResponse | None = None) -> None:
        """Respond to the latest request."""
        self.answers[-1].callback(answer or JSONResponse(200, {}))


def tree(**children: Resource) -> Resource:
    """:return: a root with these children."""
    root = Branch()
    for name, child in children.items():
        root.putChild(name.encode(), child)
    return root


def get(
    path: bytes = b"/p", *lines: bytes, version: bytes = b"1.1", method: bytes = b"GET"
) -> bytes:
    """:return: a request without a body."""
    return b"\r\n".join([method + b" " + path + b" HTTP/" + version, b"Host: h", *lines, b"", b""])


def post(body: bytes, *lines: bytes, path: bytes = b"/p") -> bytes:
    """:return: a request with a body of declared length."""
    return get(path, b"Content-Length: %d" % len(body), *lines, method=b"POST") + body


CHUNKED = b"Transfer-Encoding: chunked"


def chunked(*chunks: bytes) -> bytes:
    """:return: a chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
