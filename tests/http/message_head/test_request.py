"""
Framing: an ambiguous request is rejected once and the connection closed; valid requests are served
in order.
"""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import (
    BadRequest,
    ExpectationFailed,
    HeadTooLarge,
    NotImplementedHere,
    VersionNotSupported,
)
from chatfiles.http.message_head import request as request_head
from chatfiles.http.message_head.rules import MAX_HEADER_LINES
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from tests.support.memory_client import CHUNKED, Caller, Echo, chunked, get, post, tree
from tests.support.resources import Endpoint

REFUSED, SERVED = "refused", "served"
G, P = b"GET /p HTTP/1.1\r\nHost: h\r\n", b"POST /p HTTP/1.1\r\nHost: h\r\n"
TE, CL5 = P + CHUNKED + b"\r\n", P + b"Content-Length: 5\r\n"
GHOST = b"GET /ghost HTTP/1.1\r\nHost: h\r\n\r\n"

#: The bytes sent, and the required result.
ROWS: list[tuple[bytes, str]] = [
    # the length of the message
    (CL5 + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GHOST, REFUSED),
    (TE + b"Content-Length: 6\r\n\r\n0\r\n\r\nX", REFUSED),
    (CL5 + b"Content-Length: 5\r\n\r\nhello", REFUSED),
    (CL5 + b"Content-Length: 6\r\n\r\nhello", REFUSED),
    (P + b"Content-Length: 5, 5\r\n\r\nhello", REFUSED),
    (P + b"Content-Length: -5\r\n\r\nhello", REFUSED),
    (P + b"Content-Length: +5\r\n\r\nhello", REFUSED),
    (P + b"Content-Length: 0x5\r\n\r\nhello", REFUSED),
    (P + b"Content-Length: 5_0\r\n\r\nhello", REFUSED),
    (P + b"Content-Length: \xb2\r\n\r\nhello", REFUSED),
    (P + b"Content-Length: 5.0\r\n\r\nhello", REFUSED),
    (P + b"Content-Length:\r\n\r\nhello", REFUSED),
    (P + b"Content-Length: 99999999999999999999999\r\n\r\nhello", REFUSED),
    (P + b"Content-Length: 5 \r\n\r\nhello", SERVED),
    (P + b"Content-Length:5\r\n\r\nhello", SERVED),
    (P + b"Content-Length: 005\r\n\r\nhello", SERVED),
    (P + b"Content-Length: 0\r\n\r\n", SERVED),
    (P + b"Content-Length: 5\x00\r\n\r\nhello", REFUSED),
    (P + b"Content-Length : 5\r\n\r\nhello", REFUSED),
    (P + b"Content\x0bLength: 5\r\n\r\nhello", REFUSED),
    (G + b"Content-Length: 5\r\n\r\nhello", SERVED),
    (G + b"Content-Length: %d\r\n\r\n" % len(GHOST) + GHOST, SERVED),
    # codings
    (P + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", REFUSED),
    (TE + CHUNKED + b"\r\n\r\n0\r\n\r\n", REFUSED),
    (P + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", REFUSED),
    (P + b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc", REFUSED),
    (P + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", REFUSED),
    (P + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", REFUSED),
    (P + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n", REFUSED),
    (P + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', REFUSED),
    (P + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", REFUSED),
    (P + b"Transfer-\r\nEncoding: chunked\r\n\r\n0\r\n\r\n", REFUSED),
    (P + b"X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", REFUSED),
    (P + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", REFUSED),
    (b"POST /p HTTP/1.0\r\n" + CHUNKED + b"\r\n\r\n0\r\n\r\n", REFUSED),
    (P + b"Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n", SERVED),
    (P + b"TRANSFER-ENCODING: Chunked \r\n\r\n0\r\n\r\n", SERVED),
    # chunks
    (TE + b"\r\n5\r\nhello\r\n0\r\n\r\n", SERVED),
    (TE + b"\r\n05;a=b\r\nhello\r\n0\r\n\r\n", SERVED),
    (TE + b"\r\n5\r\nhello\r\n0\r\nX-Trailer: y\r\n\r\n", SERVED),
    (TE + b"\r\n+5\r\nhello\r\n0\r\n\r\n", REFUSED),
    (TE + b"\r\n-1\r\nhello\r\n0\r\n\r\n", REFUSED),
    (TE + b"\r\n0x5\r\nhello\r\n0\r\n\r\n", REFUSED),
    (TE + b"\r\n 5\r\nhello\r\n0\r\n\r\n", REFUSED),
    (TE + b"\r\n5 \r\nhello\r\n0\r\n\r\n", REFUSED),
    (TE + b"\r\n\r\nhello\r\n0\r\n\r\n", REFUSED),
    (TE + b"\r\n5\nhello\r\n0\r\n\r\n", REFUSED),
    (TE + b"\r\n5\nhello\n0\n\n", REFUSED),
    (TE + b"\r\n5\r\nhelloX\r\n0\r\n\r\n", REFUSED),
    (TE + b"\r\n5\r\nhello\n0\r\n\r\n", REFUSED),
    (TE + b"\r\n5;a\nb\r\nhello\r\n0\r\n\r\n", REFUSED),
    (TE + b"\r\n5;a\rb\r\nhello\r\n0\r\n\r\n", REFUSED),
    (TE + b"\r\nFFFFFFFFFFFFFFFF\r\nx", REFUSED),
    (TE + b"\r\n10000000000000005\r\nhello\r\n0\r\n\r\n", REFUSED),
    (TE + b"\r\n5;" + b"a" * 2000, REFUSED),
    (TE + b"\r\n0\r\nX" + GHOST, REFUSED),
    (TE + b"\r\n0\r\nX: a\nb\r\n\r\n", REFUSED),
    (TE + b"\r\n0\r\nX: a\n\n", REFUSED),
    # header lines
    (G + b"X-A: b\rX-Smuggled: c\r\n\r\n", REFUSED),
    (G + b"X-A: b\nX-Smuggled: c\r\n\r\n", REFUSED),
    (G + b"X-A: b\x00\r\n\r\n", REFUSED),
    (G + b": nameless\r\n\r\n", REFUSED),
    (G + b"nameless\r\n\r\n", REFUSED),
    (G + b"X A: b\r\n\r\n", REFUSED),
    (G + b"X-A : b\r\n\r\n", REFUSED),
    (G + b"X-A: b\r\n folded\r\n\r\n", REFUSED),
    (G + b"X-A: b\r\n\tfolded\r\n\r\n", REFUSED),
    (b"GET /p HTTP/1.1\r\n Host: h\r\n\r\n", REFUSED),
    (G + b"X-A: caf\xc3\xa9\tx\r\n\r\n", SERVED),
    (G + b"X-A:\r\n\r\n", SERVED),
    (b"GET /p HTTP/1.1\r\n\r\n", REFUSED),
    (G + b"Host: h\r\n\r\n", REFUSED),
    (G + b"host: other\r\n\r\n", REFUSED),
    (b"GET /p HTTP/1.1\r\nHost: a b\r\n\r\n", REFUSED),
    (b"GET /p HTTP/1.1\r\nHost: a/b\r\n\r\n", REFUSED),
    (b"GET /p HTTP/1.1\r\nHost: u@h\r\n\r\n", REFUSED),
    (b"GET /p HTTP/1.1\r\nHost:\r\n\r\n", REFUSED),
    (b"GET /p HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", SERVED),
    (G + b"Expect: 200-ok\r\n\r\n", REFUSED),
    (G + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n", SERVED),
    # request lines
    (b"GET /p HTTP/1.1 \r\nHost: h\r\n\r\n", REFUSED),
    (b"GET  /p HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED),
    (b" GET /p HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED),
    (b"GET\t/p HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED),
    (b"GET /p q HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED),
    (b"GET /p\r\n\r\n", REFUSED),
    (b"GET /p HTTP/1.10\r\nHost: h\r\n\r\n", REFUSED),
    (b"GET /p HTTP/1.2\r\nHost: h\r\n\r\n", REFUSED),
    (b"GET /p HTTP/2.0\r\nHost: h\r\n\r\n", REFUSED),
    (b"GET /p http/1.1\r\nHost: h\r\n\r\n", REFUSED),
    (b"GET /p FOO/1.1\r\nHost: h\r\n\r\n", REFUSED),
    (b"GET /p\x00 HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED),
    (b"GET /p\x7f HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED),
    (b"G(T /p HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED),
    (b"GET http://evil.test/p HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED),
    (b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED),
    (b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED),
    (b"TRACE /p HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", REFUSED),
    (b"GET /p HTTP/1.1\nHost: h\r\n\r\n", REFUSED),
    (b"GET /p HTTP/1.1\nHost: h\n\n", REFUSED),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), REFUSED),
    (b"\r\n" * 50 + G + b"\r\n", REFUSED),
    (b"\r\n" + G + b"\r\n", SERVED),
    ("GET /é\N{SNOWMAN}?é HTTP/1.1\r\nHost: h\r\n\r\n".encode(), SERVED),
    (b"GET //p/../%2e%00 HTTP/1.1\r\nHost: h\r\n\r\n", SERVED),
]

REFUSALS = {400, 417, 501, 505}


class Late(Endpoint):
    """Neither reads the body nor responds before the test says so."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.served: list[bytes] = []
        self.go: Deferred[None] = Deferred()

    async def render_GET(self, request: Request) -> JSONResponse:
        self.served.append(request.path)
        await self.go
        await request.body.read(1000)
        return JSONResponse(200, {})

    render_POST = render_GET


class RowTests(SynchronousTestCase):
    """Each row of `ROWS`, in different reads."""

    def judge(self, row: tuple[bytes, str], caller: Caller, served: list[bytes]) -> None:
        """Check for one response; a rejection has a reason and closes the connection."""
        wire, verdict = row
        answers = caller.answers()
        self.assertNotIn(b"/ghost", served, wire)
        statuses = [answer.status for answer in answers]
        if verdict == SERVED:
            self.assertEqual((statuses, caller.lost), ([200], False), wire)
            return
        self.assertEqual((len(statuses), caller.lost), (1, True), (wire, statuses))
        self.assertIn(statuses[0], REFUSALS, wire)
        (answer,) = answers
        self.assertEqual(answer.fields["connection"], "close")
        self.assertEqual(answer.fields["date"], "Sun, 09 Sep 2001 01:46:40 GMT")
        self.assertEqual(answer.json["request_id"], answer.fields["x-request-id"])
        self.assertTrue(answer.json["code"] and answer.json["error"] and answer.complete)

    def test_at_once(self) -> None:
        """
        Requests that two parsers may read differently are rejected, so that none is smuggled past
        one of them.
        """
        for row in ROWS:
            echo = Echo()
            caller = Caller(echo).send(row[0])
            self.judge(row, caller, echo.served)

    def test_split_anywhere(self) -> None:
        """The result does not depend on where the network divides the bytes."""
        for row in ROWS:
            wire = row[0]
            for at in range(1, min(len(wire), 240)):
                echo = Echo()
                self.judge(row, Caller(echo).send(wire[:at], wire[at:]), echo.served)

    def test_byte_by_byte(self) -> None:
        """
        The result is the same if each byte comes alone, so that each state of the parser is
        resumed.
        """
        for row in ROWS:
            echo = Echo()
            caller = Caller(echo).send(*(bytes([byte]) for byte in row[0]))
            self.judge(row, caller, echo.served)

    def test_answered_late(self) -> None:
        """A malformed body that has not been claimed yet gets one response."""
        for row in ROWS:
            late = Late()
            caller = Caller(late).send(row[0], b"more\r\n\r\n" if row[1] != SERVED else b"")
            late.go.callback(None)
            caller.settle()
            self.judge(row, caller, late.served)

    def test_behind_a_good_request(self) -> None:
        """A rejection follows the response before it, and no other request is served after it."""
        for wire, verdict in ROWS:
            echo = Echo()
            caller = Caller(tree(good=echo, p=echo)).send(get(b"/good") + wire)
            first, *rest = caller.answers()
            self.assertEqual((first.status, first.json["path"]), (200, "/good"))
            self.assertEqual(len(rest), 1, wire)
            self.assertEqual(caller.lost, verdict == REFUSED, wire)
            self.assertNotIn(b"/ghost", echo.served)

    def test_statuses(self) -> None:
        """Each rejection has the status and code of its reason."""
        for line, status, code in [
            (b"CONNECT h:80 HTTP/1.1", 501, "not_implemented"),
            (b"TRACE / HTTP/1.1", 501, "not_implemented"),
            (b"GET / HTTP/2.0", 505, "version_not_supported"),
            (b"GET / HTTP/1.7", 400, "malformed_request"),
            (b"GET http://h/ HTTP/1.1", 400, "malformed_request"),
        ]:
            answer = Caller(Echo()).send(line + b"\r\nHost: h\r\n\r\n").answer()
            self.assertEqual((answer.status, answer.json["code"]), (status, code), line)
        answer = Caller(Echo()).send(get(b"/p", b"Expect: x", b"X-Request-Id: mine")).answer()
        self.assertEqual((answer.status, answer.json["code"]), (417, "expectation_failed"))
        self.assertEqual(answer.json["request_id"], "mine")

    def test_head(self) -> None:
        """
        A rejection of a ``HEAD`` request has no body: the client takes it for the start of the next
        response.
        """
        for line in (b"Expect: x", b"Bad header: x", b"X: " + b"a" * 20_000):
            caller = Caller(Echo()).send(get(b"/p", line, method=b"HEAD"))
            head, _, body = caller.wire.value().partition(b"\r\n\r\n")
            self.assertRegex(head, rb"^HTTP/1.1 4")
            self.assertEqual(body, b"", line)

    @given(st.lists(st.integers(1, 400), max_size=12))
    def test_good_requests_in_order(self, cuts: list[int]) -> None:
        """Pipelined requests are served in order, however the network divides the bytes."""
        wire = get(b"/1") + post(b"two", path=b"/2") + get(b"/3", CHUNKED) + chunked(b"th", b"ree")
        wire += get("/é".encode()) + post(b"", path=b"/5") + get(b"/6", b"Connection: close")
        echo, edges = Echo(), sorted({0, len(wire), *(cut % len(wire) for cut in cuts)})
        caller = Caller(echo).send(*(wire[a:b] for a, b in pairwise(edges)))
        got = [answer.json["path"] + answer.json["body"] for answer in caller.answers()]
        texts = ["/1", "/2two", "/3three", "/%C3%A9", "/5", "/6"]
        self.assertEqual((got, caller.lost), (texts, True))


class RuleTests(SynchronousTestCase):
    """The rules, without a connection."""

    def test_request_lines(self) -> None:
        """An invalid request line raises the error that decides on the status."""
        request_head.check_request_line(b"M-SEARCH /\xff?%00 HTTP/1.0")
        for line, error in [
            (b"", BadRequest),
            (b"GET / HTTP/1.1\n", BadRequest),
            (b"CONNECT a:1 HTTP/1.1", NotImplementedHere),
            (b"GET / HTTP/3.0", VersionNotSupported),
        ]:
            self.assertRaises(error, request_head.check_request_line, line)

    def test_ascii_target(self) -> None:
        """Bytes of a target that are not ASCII are percent-encoded; Twisted refuses them."""
        line = request_head.check_request_line(b"GET /\xff\xb0a HTTP/1.1")
        self.assertEqual(line, (b"GET", b"/%FF%B0a", b"HTTP/1.1"))

    def test_partial_heads(self) -> None:
        """Incomplete headers are rejected as soon as they can no longer become valid."""
        line = b"GET / HTTP/1.0\r\n"
        for part in (b"GE", b"\r", b"\r\n", b"\r\nGET", line + b"X-A: \xe9\tb\r", line[:-1]):
            request_head.PartialHead().check(part)
        for part in (
            b"GET /\n",
            b"\n",
            b"a\rb",
            b"\x16\x03",
            b"a\x7f",
            b"\r\r",
            line + b" a\r\n",
            line + b"Content-Length: +1\r\n",
        ):
            self.assertRaises(BadRequest, request_head.PartialHead().check, part)
            with self.assertRaises(BadRequest):
                partial = request_head.PartialHead()
                for end in range(1, len(part) + 1):
                    partial.check(part[:end])

    def test_partial_lines(self) -> None:
        """Too many header lines are rejected before the headers are complete."""
        part = b"GET / HTTP/1.0\r\n" + b"A:\r\n" * MAX_HEADER_LINES
        request_head.PartialHead().check(part)
        self.assertRaises(HeadTooLarge, request_head.PartialHead().check, part + b"A:\r\n")

    def test_heads(self) -> None:
        """Rules that need all headers."""
        host = b"\r\nHost: h"
        for lines, version, error in [
            (b"", b"HTTP/1.0", None),
            (b"", b"HTTP/1.1", BadRequest),
            (b"\r\nHost: a\r\nhost: a", b"HTTP/1.0", BadRequest),
            (host + b"\r\nContent-Length: 1" * 2, b"HTTP/1.1", BadRequest),
            (host + b"\r\nExpect: 100-Continue", b"HTTP/1.1", None),
            (host + b"\r\nExpect: 100-continue" * 2, b"HTTP/1.1", ExpectationFailed),
        ]:
            head = b"GET / " + version + lines
            if error is None:
                request_head.read_head(head)
            else:
                self.assertRaises(error, request_head.read_head, head)

    def test_read(self) -> None:
        """The method, target, version, headers and framing are read from a request."""
        fields = b"Host:h\r\nX-A: \tb \r\nx-a:\r\nConnection: Keep-Alive, Close"
        head = request_head.read_head(b"\r\nPUT /a?b HTTP/1.1\r\nContent-Length: 007\r\n" + fields)
        self.assertEqual(head[:3], (b"PUT", b"/a?b", b"HTTP/1.1"))
        self.assertEqual(head.fields[1:4], [(b"host", b"h"), (b"x-a", b"b"), (b"x-a", b"")])
        self.assertEqual((head.length, head.expects_continue, head.persistent), (7, False, False))
        head = request_head.read_head(
            b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: CHUNKED\r\nExpect: 100-continue"
        )
        self.assertEqual((head.length, head.expects_continue, head.persistent), (None, True, True))
        self.assertFalse(request_head.read_head(b"GET / HTTP/1.0").persistent)

    def test_values(self) -> None:
        """
        The request id of a rejected request is found for the log, by which its client can refer to
        it.
        """
        for part, found, is_all in [
            (b"X / HTTP/1.1\r\nx-request-ID: \ta-1 \r\nb: c", [b"a-1"], True),
            (b"\r\nX / HTTP/1.1\r\nX-Request-Id:a\r\nX-Request-Id: b", [b"a", b"b"], True),
            (b"X / HTTP/1.1\r\nNot-X-Request-Id: a\r\n", [], False),
            (b"X / HTTP/1.1\r\nX-Request-Id: a\r\nbad\r\nX-Request-Id: b", [b"a"], False),
            (b"X / HTTP/1.1\r\nX-Request-Id: a\r\n\r\nY\r\nX-Request-Id: b", [b"a"], False),
            (b"X\r\nX-Request-Id: a", [], False),
        ]:
            self.assertEqual(request_head.values_of(b"x-request-id", part), (found, is_all), part)
