"""
A whole response of a workspace, on a connection that is closed after it: what is taken for complete
was complete, byte by byte, and nothing that follows it reaches a client (reference/downloads,
"Interruption").
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import IResponse

from chatfiles.platform.upstream.connection import WorkspaceConnection
from chatfiles.platform.upstream.pool import ConnectionPool
from chatfiles.platform.upstream.request import UpstreamRequest
from chatfiles.streams.memory_budget import MemoryBudget
from tests.fuzz.answers import HEADS, read
from tests.fuzz.wire import CUTS, Bad, Incomplete, chunked_body, divided

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = st.sampled_from(
    [
        b"3\r\nabc\r\n",
        b"1\r\n\n\r\n",
        b"0\r\n\r\n",
        b"0\r\n",
        b"\r\n",
        b"00003\r\nabc\r\n",
        b"a\r\n0123456789\r\n",
        b"A;x=y\r\n0123456789\r\n",
        b'3;x="y z"\r\nabc\r\n',
        b"3 \r\nabc\r\n",
        b" 3\r\nabc\r\n",
        b"3\nabc\r\n",
        b"+3\r\nabc\r\n",
        b"0x3\r\nabc\r\n",
        b"3\r\nabcd\r\n",
        b"3\r\nabc",
        b"3\r\nabc\n",
        b"3;\0\r\nabc\r\n",
        b"3;\xff\r\nabc\r\n",
        b"3;\r\r\nabc\r\n",
        b"3_0\r\n",
        b"fffffffffffffff\r\nx",
        b"10000000000000000\r\nx",
        b"0;x\r\n\r\n",
        b"0\r\nX-A: b\r\n\r\n",
        b"0\r\nX-A : b\r\n\r\n",
        b"0\r\nnonsense\r\n\r\n",
        b"-1\r\n",
        b"0\r\n folded\r\n\r\n",
        b"0\r\nX: \n\r\n\r\n",
        b"0\n\n",
        b"0\r\n\n",
        b"0\r\r\n\r\n",
        b"x",
        b"\0",
    ]
)
RAW = st.one_of(
    st.tuples(HEADS, st.binary(max_size=12)).map(b"".join),
    st.lists(CHUNKS, max_size=5).map(lambda chunks: CHUNKED + b"".join(chunks)),
    st.builds(
        lambda length, body: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + body,
        st.integers(0, 12),
        st.binary(max_size=12),
    ),
)


class Wire(StringTransport):
    """A transport that can be aborted."""

    bufferSize = 65536

    def abortConnection(self) -> None:
        self.disconnecting = True


class Body(Protocol):
    """Collects a body, and whether it was complete."""

    def __init__(self) -> None:
        self.content = b""
        self.complete: bool | None = None

    def dataReceived(self, data: bytes) -> None:
        self.content += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self.complete is None
        self.complete = reason.check(ResponseDone) is not None


class Result:
    """
    Receives the result of a request.

    :param body: takes the body of the response.
    """

    def __init__(self, body: Body) -> None:
        self.body = body
        self.heads: list[IResponse] = []
        self.failures: list[Failure] = []

    def sent(self, connection: WorkspaceConnection) -> None:
        """The request has been written."""

    def answered(self, connection: WorkspaceConnection, response: IResponse) -> None:
        """There is a response."""
        self.heads.append(response)
        response.deliverBody(self.body)

    def failed(self, connection: WorkspaceConnection, failure: Failure) -> None:
        """There is no response."""
        self.failures.append(failure)


def taken(pieces: list[bytes], method: bytes) -> tuple[str, bytes, bool]:
    """
    :return: what becomes of a response, the body of one that is complete, and whether its
        connection is kept for another request.
    """
    idle: ConnectionPool[Any] = ConnectionPool(Clock(), timeout=20)
    connection = WorkspaceConnection(idle, MemoryBudget(), b"key", plain=True)
    wire, body = Wire(), Body()
    connection.makeConnection(wire)
    request = UpstreamRequest(method, b"/", b"Host: h\r\n", uri=b"http://h/")
    result = Result(body)
    connection.request(request, result)
    for piece in pieces:
        if wire.disconnecting:
            break
        connection.dataReceived(piece)
    kept = idle.take(b"key") is not None
    connection.connectionLost(Failure(ConnectionDone()))
    assert len(result.heads) + len(result.failures) == 1
    if result.failures:
        return "refused", b"", kept
    assert body.complete is not None
    return ("complete", body.content, kept) if body.complete else ("cut", b"", kept)


def expected(raw: bytes, method: bytes) -> tuple[str, bytes, bool]:
    """:return: the same, according to the rules."""
    try:
        head = read(raw, method)
    except (Bad, Incomplete):
        return "refused", b"", False
    if not head.has_body:
        return "complete", b"", head.persistent and not head.rest
    if head.length is not None:
        body, end = head.rest[: head.length], head.length
        if len(body) < end:
            return "cut", b"", False
    else:
        try:
            body, end = chunked_body(head.rest, 0)
        except (Bad, Incomplete):
            return "cut", b"", False
    return "complete", body, head.persistent and len(head.rest) == end


@given(RAW, st.sampled_from([b"GET", b"GET", b"HEAD"]), CUTS)
def check(raw: bytes, method: bytes, cuts: list[int]) -> None:
    """A body that is taken for complete is complete, however the network divides it."""
    wanted = expected(raw, method)
    for pieces in ([raw], list(divided(raw, cuts)), [raw[i : i + 1] for i in range(len(raw))]):
        got = taken(pieces, method)
        if {got[0], wanted[0]} == {"refused", "cut"}:  # may precede the delivery of the headers
            continue
        assert got == wanted, (got, wanted, pieces)
