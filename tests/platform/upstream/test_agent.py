"""
Tests for `chatfiles.platform.upstream.agent`: requests to workspaces, and all kinds of responses.
"""

from __future__ import annotations

import socket
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent
from zope.interface.verify import verifyObject

from chatfiles.errors import ChatfilesError
from tests.platform.upstream.upstream_case import (
    BODY,
    CHUNKED,
    FILLED,
    INJECTED,
    OK,
    URL,
    Collector,
    Upload,
    UpstreamTestCase,
)


class RequestTests(UpstreamTestCase):
    """Requests as a workspace receives them, without headers of another hop."""

    def test_interface(self):
        """The agent provides `IAgent`, so that treq can use it."""
        self.assertTrue(verifyObject(IAgent, self.agent))

    def test_get(self):
        """The path and query are sent as they were given, with one ``Host``."""
        self.ask()
        self.assertEqual(self.reactor.tcpClients[0][:2], ("8.8.8.8", 8000))
        self.assertEqual(
            self.wire.sent(),
            b"GET /base/internal/file/read?path=/workspace/a%20b HTTP/1.1\r\n"
            b"Host: 8.8.8.8:8000\r\nAccept-Encoding: identity\r\n\r\n",
        )

    def test_dropped_fields(self):
        """
        Framing, hop-by-hop headers, cookies and the client's content codings are not forwarded.
        """
        dropped = {
            "Accept-Encoding": ["gzip, br"],
            "Connection": ["close, X-Private", "x-more"],
            "Content-Length": ["7"],
            "Cookie": ["a=b"],
            "Expect": ["100-continue"],
            "Host": ["evil.test"],
            "Keep-Alive": ["timeout=5"],
            "Proxy-Authorization": ["Basic x"],
            "TE": ["trailers"],
            "Trailer": ["X"],
            "Transfer-Encoding": ["chunked"],
            "Upgrade": ["h2c"],
            "X-Private": ["1"],
            "X-More": ["1"],
        }
        kept = {"Authorization": ["Bearer s"], "Range": ["bytes=0-1"], "X-Two": ["1", "2"]}
        given = Headers({**dropped, **kept})
        before = given.copy()
        self.ask(headers=given)
        lines = self.wire.sent().split(b"\r\n")[1:-2]
        self.assertEqual(
            sorted(lines),
            [
                b"Accept-Encoding: identity",
                b"Authorization: Bearer s",
                b"Host: 8.8.8.8:8000",
                b"Range: bytes=0-1",
                b"X-Two: 1",
                b"X-Two: 2",
            ],
        )
        self.assertEqual(given, before)

    def test_hosts(self):
        """``Host`` names the workspace as its URL does, with the port unless it is the default."""
        for url, host in [
            (b"http://8.8.8.8/x", b"8.8.8.8"),
            (b"http://8.8.8.8:80/x", b"8.8.8.8"),
            (b"http://[2606:4700::1111]:81/x", b"[2606:4700::1111]:81"),
        ]:
            self.ask(url=url)
            self.assertIn(b"\r\nHost: " + host + b"\r\n", self.wire.sent())

    def test_upload(self):
        """A body is sent as it arrives, framed by its length or in chunks."""
        for length, expected in [
            (3, b"Content-Length: 3\r\n"),
            (UNKNOWN_LENGTH, b"Transfer-Encoding: chunked\r\n"),
        ]:
            upload = Upload(length)
            self.ask(b"POST", headers=Headers({"Content-Length": ["9"]}), body=upload)
            upload.consumer.write(b"abc")
            sent = self.wire.sent()
            self.assertEqual(sent.count(expected), 1)
            self.assertNotIn(b": 9\r\n", sent)
            self.assertIn(b"abc", sent)

    def test_bad_urls(self):
        """A URL that is not of the registered form is refused without a connection."""
        for url in (
            b"http://8.8.8.8",
            b"http://8.8.8.8:8000?x",
            b"http://8.8.8.8/x#f",
            b"http://8.8.8.8/x y",
            b"http://8.8.8.8/x\r\nX: y",
            b"http://8.8.8.8/\xff",
            b"http://a@8.8.8.8/",
            b"http://127.1/",
            b"http://2130706433/",
            b"ftp://8.8.8.8/",
            b"/x",
            b"",
        ):
            self.failed(self.agent.request(b"GET", url), "workspace_url_not_allowed")
        self.assertEqual(self.reactor.tcpClients, [])


class ConnectFailureTests(UpstreamTestCase):
    """Workspaces that cannot be connected to, and those that must not be."""

    def test_refused_address(self):
        """An address that is not allowed is reported as a URL that is not allowed."""
        error = self.failed(
            self.agent.request(b"GET", b"http://127.0.0.1:8000/x"), "workspace_url_not_allowed"
        )
        self.assertEqual((error.status, error.text), (502, "workspace URL not allowed"))
        self.assertEqual(self.reactor.tcpClients, [])

    def test_unreachable(self):
        """A failure to connect is 502, with its cause as a detail for the workspace's owner."""
        for reason, detail in [
            (error.ConnectionRefusedError(), "refused"),
            (error.NoRouteError(), "no connection"),
            (error.TCPTimedOutError(), "no connection"),
            (error.ConnectionLost(), "no connection"),
        ]:
            result = self.agent.request(b"GET", URL)
            factory = self.reactor.tcpClients[-1][2]
            factory.clientConnectionFailed(self.reactor.connectors[-1], Failure(reason))
            told = self.failed(result, "workspace_unreachable")
            self.assertEqual((told.status, told.text), (502, "workspace unreachable"))
            self.assertIn(detail, told.detail or "")

    def test_no_such_name(self):
        """A name that cannot be looked up is 502."""
        failing: Deferred[Any] = Deferred()
        failing.errback(socket.gaierror(socket.EAI_NONAME, "unknown"))
        self.found = [failing]
        told = self.failed(
            self.agent.request(b"GET", b"http://gone.test/x"), "workspace_unreachable"
        )
        self.assertIn("looked up", told.detail or "")

    def test_timeout(self):
        """A connect timeout is 502, and not the 504 of a slow response."""
        result = self.agent.request(b"GET", URL)
        self.reactor.advance(5)
        told = self.failed(result, "workspace_unreachable")
        self.assertIn("too long", told.detail or "")

    def test_our_own_mistakes(self):
        """An internal error of the platform is not attributed to the workspace."""
        failing: Deferred[Any] = Deferred()
        failing.errback(ZeroDivisionError())
        self.found = [failing]
        self.failureResultOf(self.agent.request(b"GET", b"http://odd.test/x"), ZeroDivisionError)

    def test_cancel(self):
        """Cancelling while connecting stops the connection attempt."""
        result = self.agent.request(b"GET", URL)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


#: What a workspace sends, what it does then, the outcome of the request.
ANSWERS = [
    (OK + b"Content-Length: 1000\r\n\r\n" + BODY, "close", "OK:1000"),
    (OK + b"Content-Length: 1000\r\n\r\n" + BODY, "hang", "OK:1000"),
    (OK + b"Content-Length: 1000\r\n\r\n" + BODY[:400], "close", "ABORT"),
    (OK + b"Content-Length: 1000\r\n\r\n" + BODY[:400], "reset", "ABORT"),
    (OK + b"Content-Length: 1000\r\n\r\n" + BODY[:400], "hang", "OPEN"),
    (OK + b"Content-Length: 1000\r\n\r\n", "close", "ABORT"),
    (OK + b"Content-Length: 1000\r\n\r\n" + BODY + INJECTED, "keep", "OK:1000"),
    (OK + b"Content-Length: 0\r\n\r\n", "keep", "OK:0"),
    (OK + b"Content-Length: 0\r\n\r\n" + INJECTED, "keep", "OK:0"),
    (OK + b"\r\n" + BODY, "close", "502"),
    (CHUNKED + b"3e8\r\n" + BODY + b"\r\n0\r\n\r\n", "keep", "OK:1000"),
    (CHUNKED + b"3E8;a=b\r\n" + BODY + b"\r\n0\r\nX: y\r\n\r\n", "keep", "OK:1000"),
    (CHUNKED + b"3e8\r\n" + BODY + b"\r\n0\r\n\r\n" + INJECTED, "keep", "OK:1000"),
    (CHUNKED + b"3e8\r\n" + BODY[:400], "close", "ABORT"),
    (CHUNKED + b"3e8\r\n" + BODY + b"\r\n", "close", "ABORT"),
    (CHUNKED + b"3e8\r\n" + BODY + b"\r\n0\r\n", "close", "ABORT"),
    (CHUNKED, "close", "ABORT"),
    (CHUNKED + b"0x3e8\r\n" + BODY + b"\r\n0\r\n\r\n", "close", "ABORT"),
    (CHUNKED + b"-3e8\r\n" + BODY + b"\r\n0\r\n\r\n", "hang", "ABORT"),
    (CHUNKED + b"+3e8\r\n" + BODY + b"\r\n0\r\n\r\n", "hang", "ABORT"),
    (CHUNKED + b" 3e8\r\n" + BODY + b"\r\n0\r\n\r\n", "hang", "ABORT"),
    (CHUNKED + b"3e8 \r\n" + BODY + b"\r\n0\r\n\r\n", "hang", "ABORT"),
    (CHUNKED + b"zz\r\n" + BODY + b"\r\n0\r\n\r\n", "hang", "ABORT"),
    (CHUNKED + b"\r\n" + BODY + b"\r\n0\r\n\r\n", "hang", "ABORT"),
    (CHUNKED + b"3e8\r\n" + BODY + b"xx0\r\n\r\n", "hang", "ABORT"),
    (CHUNKED + b"3e7\r\n" + BODY + b"\r\n0\r\n\r\n", "hang", "ABORT"),
    (CHUNKED + b"3e8\n" + BODY + b"\n0\n\n", "close", "ABORT"),
    (CHUNKED + b"f" * 2000, "hang", "ABORT"),
    (OK + b"Content-Length: 1000\r\nContent-Length: 900\r\n\r\n" + BODY, "close", "502"),
    (OK + b"Content-Length: 1000\r\nContent-Length: 1000\r\n\r\n" + BODY, "close", "OK:1000"),
    (OK + b"Content-Length: 1000, 1000\r\n\r\n" + BODY, "close", "502"),
    (OK + b"Content-Length: -5\r\n\r\n" + BODY, "close", "502"),
    (OK + b"Content-Length: abc\r\n\r\n" + BODY, "close", "502"),
    (OK + b"Content-Length: 1" + b"0" * 30 + b"\r\n\r\n" + BODY, "close", "502"),
    (OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "close", "502"),
    (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "close", "502"),
    (OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", "close", "502"),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + FILLED, "close", "OK:3"),
    (b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + FILLED, "close", "OK:3"),
    (b"HTTP/1.1 100 Continue\r\n\r\n", "close", "502"),
    (b"HTTP/1.1 100 Continue\r\n\r\n", "hang", "504"),
    (b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + FILLED, "close", "502"),
    (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\n\r\nraw", "hang", "502"),
    (
        b"HTTP/1.1 302 Found\r\nLocation: http://evil.test/\r\nContent-Length: 0\r\n\r\n",
        "close",
        "502",
    ),
    (b"", "hang", "504"),
    (b"", "close", "502"),
    (b"", "reset", "502"),
    (b"HTTP/1.1 200 OK\r\nX-A: b\r\n", "hang", "504"),
    (b"HTTP/1.1 200 OK\r\nX-A: b\r\n", "close", "502"),
    (b"HT", "reset", "502"),
    (b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", "close", "502"),
    (b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n", "close", "502"),
    (b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", "close", "502"),
    (b"HTTP/2 200\r\nContent-Length: 0\r\n\r\n", "close", "502"),
    (b"SSH-2.0-OpenSSH_9.6\r\n", "hang", "502"),
    (b"\x15\x03\x01\x00\x02\x02F", "hang", "502"),
    (b"hello", "hang", "502"),
    (b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", "hang", "502"),
    (OK + b"X-A: b\r\n folded\r\nContent-Length: 3\r\n\r\nabc", "close", "502"),
    (OK + b"X-A : b\r\nContent-Length: 3\r\n\r\nabc", "close", "502"),
    (OK + b"X-A: a\rSet-Cookie: x=1\r\nContent-Length: 3\r\n\r\nabc", "close", "502"),
    (OK + b"X-A: a\x00b\r\nContent-Length: 3\r\n\r\nabc", "close", "502"),
    (OK + b"X: 1\r\n" * 101 + b"Content-Length: 3\r\n\r\nabc", "close", "502"),
    (OK + b"X: " + b"y" * 40_000 + b"\r\nContent-Length: 3\r\n\r\nabc", "close", "OK:3"),
    (OK + b"X: " + b"y" * 70_000 + b"\r\nContent-Length: 3\r\n\r\nabc", "close", "502"),
    (OK + b"X: " + b"y" * 70_000, "hang", "502"),
    (OK + b"X-0: 1\r\n" * 100_000 + b"Content-Length: 3\r\n\r\nabc", "close", "502"),
    (b"HTTP/1.1 204 No Content\r\n\r\n", "keep", "OK:0"),
    (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", "close", "OK:0"),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "keep", "OK:0"),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", "close", "OK:3"),
    (b"HTTP/1.0 200 OK\r\n\r\nabc", "close", "502"),
    (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\nnope!", "close", "OK:5"),
    (b"HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nnope!", "close", "OK:5"),
]


class AnswerTests(UpstreamTestCase):
    """Valid and invalid responses, with complete and interrupted bodies."""

    def outcome(self, raw: bytes, then: str, size: int) -> str:
        """:return: the outcome of *raw*, arriving in pieces of *size*."""
        self.make()
        result = self.ask()
        answers: list[Any] = []
        result.addCallbacks(answers.append, answers.append)
        collector = Collector()
        for start in range(0, len(raw), size):
            self.wire.send(raw[start : start + size])
            if answers and not isinstance(answers[0], Failure) and collector.transport is None:
                answers[0].deliverBody(collector)
        if then == "hang":
            self.reactor.advance(30)
        elif then in ("close", "reset"):
            self.wire.lose(error.ConnectionDone() if then == "close" else error.ConnectionLost())
        self.assertEqual(len(answers), 1, raw)
        if isinstance(answers[0], Failure):
            assert isinstance(answers[0].value, ChatfilesError), answers[0]
            self.assertTrue(self.wire.disconnecting or then in ("close", "reset"))
            return str(answers[0].value.status)
        if collector.outcome == "ABORT":
            self.assertTrue(self.wire.disconnecting or then in ("close", "reset"))
        return collector.outcome

    def test_table(self):
        """Each response has the same outcome, however the network divides it."""
        for raw, then, expected in ANSWERS:
            for size in (len(raw) or 1, 65536, 997, 5, 1):
                if len(raw) // size < 5000:
                    self.assertEqual(
                        self.outcome(raw, then, size), expected, (raw[:300], then, size)
                    )

    def test_texts(self):
        """An invalid response has its own code, and a detail that says what is wrong with it."""
        result = self.ask()
        self.wire.send(OK + b"\r\nabc")
        told = self.failed(result, "workspace_answered_badly")
        self.assertEqual((told.status, told.text), (502, "workspace answered badly"))
        self.assertEqual(told.detail, "no length")
        result = self.ask()
        self.wire.send(b"HTTP/1.1 2")
        self.wire.lose(error.ConnectionDone())
        told = self.failed(result, "workspace_answered_badly")
        self.assertEqual(told.detail, "interrupted within the headers")

    def test_silent_close(self):
        """
        A workspace that closes without a response is unreachable; its response is not invalid.
        """
        result = self.ask()
        self.wire.lose(error.ConnectionDone())
        self.failed(result, "workspace_unreachable")
        self.assertEqual(len(self.wires), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_head(self):
        """The status and headers are passed on, without hop-by-hop headers and cookies."""
        result = self.ask()
        self.wire.send(
            b"HTTP/1.1 206 Partial Content\r\nX-A: 1\r\nx-a: 2\r\nSet-Cookie: a=b\r\n"
            b'Keep-Alive: timeout=5\r\nContent-Length: 3\r\nETag: "x"\r\n\r\nabc'
        )
        response = self.successResultOf(result)
        self.assertEqual(
            (response.code, response.phrase, response.length), (206, b"Partial Content", 3)
        )
        self.assertEqual(
            dict(response.headers.getAllRawHeaders()), {b"X-A": [b"1", b"2"], b"ETag": [b'"x"']}
        )
        self.assertEqual(response.request.absoluteURI, URL)

    def test_head_request(self):
        """For ``HEAD``, the length of the body of a GET is passed on, and no body is expected."""
        result = self.ask(b"HEAD")
        self.wire.send(OK + b"Content-Length: 1000\r\n\r\n")
        response, collector = self.successResultOf(result), Collector()
        self.assertEqual(response.headers.getRawHeaders(b"content-length"), [b"1000"])
        response.deliverBody(collector)
        self.assertEqual(collector.outcome, "OK:0")
        self.ask(b"HEAD")
        self.assertEqual(len(self.wires), 1)

    def test_body_waits(self):
        """A body is not read into memory before it is delivered."""
        result = self.ask()
        self.wire.send(OK + b"Content-Length: 1000\r\n\r\nx")
        self.assertEqual(self.wire.producerState, "paused")
        collector = self.take(result)
        self.assertEqual(self.wire.producerState, "producing")
        self.wire.send(BODY[1:])
        self.assertEqual(collector.outcome, "OK:1000")

    def test_body_stopped(self):
        """The receiver of a body can stop it, which closes the connection."""
        result = self.ask()
        self.wire.send(OK + b"Content-Length: 1000\r\n\r\nx")
        collector = self.take(result)
        assert collector.transport is not None
        transport: Any = collector.transport
        transport.stopProducing()
        self.reactor.advance(0)
        self.assertEqual(collector.outcome, "ABORT")
        self.assertFalse(self.wire.open)

    def test_taker_raises(self):
        """An exception in the receiver of a body aborts the transfer and closes the connection."""
        result = self.ask()
        self.wire.send(OK + b"Content-Length: 1000\r\n\r\n")
        collector = self.take(result)
        collector.dataReceived = lambda data: 1 / 0  # type: ignore[method-assign, assignment]
        self.wire.send(b"x")
        self.assertEqual(collector.outcome, "ABORT")
        self.assertTrue(self.wire.disconnecting)

    @given(st.binary(max_size=300), st.integers(1, 50))
    def test_any_octets(self, raw: bytes, size: int):
        """
        Random bytes lead to an error or to a complete response; a request never hangs or raises.
        """
        for prefix in (b"", OK, CHUNKED):
            outcome = self.outcome(prefix + raw, "close", size)
            self.assertTrue(outcome in ("502", "ABORT") or outcome.startswith("OK:"), outcome)
