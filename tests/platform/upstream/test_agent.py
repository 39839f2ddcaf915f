"""
Tests for `chatfiles.platform.upstream`: what a workspace may do to us.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from treq.client import HTTPClient
from twisted.internet import error, reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.ssl import Certificate, PrivateCertificate
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import BrowserLikePolicyForHTTPS, ResponseDone, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer
from zope.interface import implementer
from zope.interface.verify import verifyObject

from chatfiles.errors import ChatfilesError, TooLarge, UpstreamFailed, UpstreamTimeout
from chatfiles.http.chunked import MANY_CHUNKS
from chatfiles.platform.upstream.agent import UpstreamAgent
from chatfiles.platform.upstream.dialer import Dialer
from chatfiles.platform.upstream.pool import READ_SIZE
from chatfiles.rules.address_policy import AddressPolicy, parse_networks
from chatfiles.runtime.name_lookup import NameLookup
from chatfiles.streams.transports import SMALL_READ, TINY_READ
from tests.platform.upstream.test_dialer import make_certificate

URL = b"http://8.8.8.8:8000/base/internal/file/read?path=/workspace/a%20b"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
FILLED = OK + b"Content-Length: 3\r\n\r\nabc"
BODY = b"x" * 1000
LARGE = OK + b"Content-Length: %d\r\n\r\n" % (SMALL_READ + 1)
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
INJECTED = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"


class Wire(StringTransport):
    """One connection in memory, which closes when the reactor next runs, as a real one does."""

    def __init__(self, clock: MemoryReactorClock, protocol: Any) -> None:
        super().__init__()
        self.clock = clock
        self.protocol = protocol
        self.open = True
        self.aborted = False
        self.bufferSize = SMALL_READ
        protocol.makeConnection(self)

    def loseConnection(self) -> None:
        """Close it."""
        if not self.disconnecting:
            super().loseConnection()
            self.clock.callLater(0, self.lose, error.ConnectionDone())

    def abortConnection(self) -> None:
        """Close it, whatever is left to send."""
        self.aborted = True
        self.loseConnection()

    def stopProducing(self) -> None:
        """As a socket does."""
        self.loseConnection()

    def unregisterProducer(self) -> None:
        """As a socket does, which does not mind if there is none."""
        self.producer = None

    def lose(self, reason: Exception) -> None:
        """Tell the protocol that it is gone."""
        if self.open:
            self.open = False
            self.protocol.connectionLost(Failure(reason))

    def send(self, data: bytes) -> None:
        """Let the workspace send *data*."""
        if self.open and not self.disconnecting:
            self.protocol.dataReceived(data)

    def sent(self) -> bytes:
        """:return: what we have sent since the last time."""
        data: bytes = self.value()
        self.clear()
        return data


class Collector(Protocol):
    """Takes a body."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """A piece of it."""
        self.pieces.append(data)

    def connectionLost(self, reason: Failure = Failure(error.ConnectionDone())) -> None:  # noqa: B008
        """Its end."""
        self.reason = reason

    @property
    def outcome(self) -> str:
        """In the words of the table below."""
        if self.reason is None:
            return "OPEN"
        if self.reason.check(ResponseDone):
            return f"OK:{len(b''.join(self.pieces))}"
        return "ABORT" if self.reason.check(ResponseFailed) else repr(self.reason)


@implementer(IBodyProducer)
class Upload:
    """A request body that is written by hand."""

    def __init__(self, length: Any = UNKNOWN_LENGTH) -> None:
        self.length = length
        self.consumer: Any = None
        self.stopped = False
        self.done: Deferred[None] = Deferred()

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """Begin."""
        self.consumer = consumer
        return self.done

    def stopProducing(self) -> None:
        """No more is wanted."""
        self.stopped = True

    def pauseProducing(self) -> None:
        """Wait."""

    def resumeProducing(self) -> None:
        """Go on."""


class UpstreamTestCase(SynchronousTestCase):
    """An agent whose network is in memory."""

    def setUp(self):
        """Public addresses only; thirty seconds for a head, five for a dial."""
        self.make()

    def make(self) -> None:
        """Begin anew."""
        self.reactor = MemoryReactorClock()
        self.found: list[Any] = []
        lookups = NameLookup(lambda _lookup, _host: self.found.pop(0), clock=Clock())
        dialer = Dialer(self.reactor, AddressPolicy(), lookups, connect_timeout=5.0)
        self.agent = UpstreamAgent(dialer, header_timeout=30.0, idle_timeout=20.0)
        self.wires: list[Wire] = []

    def ask(
        self,
        method: bytes = b"GET",
        url: bytes = URL,
        headers: Headers | None = None,
        body: Any = None,
    ) -> Deferred[Any]:
        """:return: the result of a request; new connections are accepted at once."""
        dialled = len(self.reactor.tcpClients)
        result = self.agent.request(method, url, headers, body)
        if len(self.reactor.tcpClients) > dialled:
            self.accept()
        return result

    def accept(self) -> Wire:
        """Let the last dial succeed."""
        protocol = self.reactor.tcpClients[-1][2].buildProtocol(None)
        self.wires.append(Wire(self.reactor, protocol))
        return self.wires[-1]

    @property
    def wire(self) -> Wire:
        """The connection that was made last."""
        return self.wires[-1]

    def take(self, result: Deferred[Any]) -> Collector:
        """:return: what takes the body of an answer that has come."""
        collector = Collector()
        self.successResultOf(result).deliverBody(collector)
        return collector

    def failed(self, result: Deferred[Any], code: str) -> ChatfilesError:
        """:return: the error of *result*, which must have *code*."""
        failure = self.failureResultOf(result, ChatfilesError)
        assert isinstance(failure.value, ChatfilesError)
        self.assertEqual(failure.value.code, code)
        return failure.value


class RequestTests(UpstreamTestCase):
    """What goes to a workspace is what was meant for it, and nothing of another hop."""

    def test_interface(self):
        """treq can be put on top."""
        self.assertTrue(verifyObject(IAgent, self.agent))

    def test_get(self):
        """The path and query go out as they were given, with one Host."""
        self.ask()
        self.assertEqual(self.reactor.tcpClients[0][:2], ("8.8.8.8", 8000))
        self.assertEqual(
            self.wire.sent(),
            b"GET /base/internal/file/read?path=/workspace/a%20b HTTP/1.1\r\n"
            b"Host: 8.8.8.8:8000\r\nAccept-Encoding: identity\r\n\r\n",
        )

    def test_dropped_fields(self):
        """Framing, hop-by-hop fields, cookies and codings of others do not pass."""
        dropped = {
            "Accept-Encoding": ["gzip, br"],
            "Chatfiles-Workspace": ["x"],
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
        """The Host names the workspace as its URL does, with the port unless it is the usual."""
        for url, host in [
            (b"http://8.8.8.8/x", b"8.8.8.8"),
            (b"http://8.8.8.8:80/x", b"8.8.8.8"),
            (b"http://[2606:4700::1111]:81/x", b"[2606:4700::1111]:81"),
        ]:
            self.ask(url=url)
            self.assertIn(b"\r\nHost: " + host + b"\r\n", self.wire.sent())

    def test_upload(self):
        """A body goes out as it comes, framed by its length or in chunks."""
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
        """A URL that is not of the form that was registered is never dialled."""
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
    """A workspace that cannot be reached is told apart from one that must not be."""

    def test_refused_address(self):
        """An address that is not allowed is a matter of the URL."""
        error = self.failed(
            self.agent.request(b"GET", b"http://127.0.0.1:8000/x"), "workspace_url_not_allowed"
        )
        self.assertEqual((error.status, error.text), (502, "workspace URL not allowed"))
        self.assertEqual(self.reactor.tcpClients, [])

    def test_unreachable(self):
        """Whatever keeps us from connecting is 502, with what it was for the owner to read."""
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
        """A dial that takes too long is 502, and not the 504 of a slow answer."""
        result = self.agent.request(b"GET", URL)
        self.reactor.advance(5)
        told = self.failed(result, "workspace_unreachable")
        self.assertIn("too long", told.detail or "")

    def test_our_own_mistakes(self):
        """A defect of ours is not blamed on the workspace."""
        failing: Deferred[Any] = Deferred()
        failing.errback(ZeroDivisionError())
        self.found = [failing]
        self.failureResultOf(self.agent.request(b"GET", b"http://odd.test/x"), ZeroDivisionError)

    def test_cancel(self):
        """A caller that leaves while we dial ends the dial."""
        result = self.agent.request(b"GET", URL)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


#: What a workspace sends, what it does then, what we make of it.
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
    """A broken workspace is told from a whole one, and a whole body from a cut one."""

    def outcome(self, raw: bytes, then: str, size: int) -> str:
        """:return: what becomes of *raw*, arriving in pieces of *size*."""
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
        """Each way to answer is understood alike, however the network divides it."""
        for raw, then, expected in ANSWERS:
            for size in (len(raw) or 1, 65536, 997, 5, 1):
                if len(raw) // size < 5000:
                    self.assertEqual(
                        self.outcome(raw, then, size), expected, (raw[:300], then, size)
                    )

    def test_texts(self):
        """An answer that cannot be trusted has its own text, and says what was wrong with it."""
        result = self.ask()
        self.wire.send(OK + b"\r\nabc")
        told = self.failed(result, "workspace_answered_badly")
        self.assertEqual((told.status, told.text), (502, "workspace answered badly"))
        self.assertEqual(told.detail, "no length")
        result = self.ask()
        self.wire.send(b"HTTP/1.1 2")
        self.wire.lose(error.ConnectionDone())
        told = self.failed(result, "workspace_answered_badly")
        self.assertEqual(told.detail, "cut within the head")

    def test_silent_close(self):
        """A workspace that closes without a word is unreachable rather than misbehaved."""
        result = self.ask()
        self.wire.lose(error.ConnectionDone())
        self.failed(result, "workspace_unreachable")
        self.assertEqual(len(self.wires), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_head(self):
        """The head is passed on, without what belongs to the hop and without cookies."""
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
        """The length of what a GET would give is passed on for a HEAD, and no body is awaited."""
        result = self.ask(b"HEAD")
        self.wire.send(OK + b"Content-Length: 1000\r\n\r\n")
        response, collector = self.successResultOf(result), Collector()
        self.assertEqual(response.headers.getRawHeaders(b"content-length"), [b"1000"])
        response.deliverBody(collector)
        self.assertEqual(collector.outcome, "OK:0")
        self.ask(b"HEAD")
        self.assertEqual(len(self.wires), 1)

    def test_body_waits(self):
        """A body that nobody takes yet is not read into memory."""
        result = self.ask()
        self.wire.send(OK + b"Content-Length: 1000\r\n\r\nx")
        self.assertEqual(self.wire.producerState, "paused")
        collector = self.take(result)
        self.assertEqual(self.wire.producerState, "producing")
        self.wire.send(BODY[1:])
        self.assertEqual(collector.outcome, "OK:1000")

    def test_body_stopped(self):
        """Who takes the body can end it, which closes the connection."""
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
        """A defect in who takes the body ends the transfer, not the process, nor silently."""
        result = self.ask()
        self.wire.send(OK + b"Content-Length: 1000\r\n\r\n")
        collector = self.take(result)
        collector.dataReceived = lambda data: 1 / 0  # type: ignore[method-assign, assignment]
        self.wire.send(b"x")
        self.assertEqual(collector.outcome, "ABORT")
        self.assertTrue(self.wire.disconnecting)

    @given(st.binary(max_size=300), st.integers(1, 50))
    def test_any_octets(self, raw: bytes, size: int):
        """Noise gets an error and closes the connection; it never hangs or raises."""
        for prefix in (b"", OK, CHUNKED):
            outcome = self.outcome(prefix + raw, "close", size)
            self.assertTrue(outcome in ("502", "ABORT") or outcome.startswith("OK:"), outcome)


class ReuseTests(UpstreamTestCase):
    """A kept connection saves a dial, and never costs an answer."""

    def exchange(self, answer: bytes = FILLED) -> Collector:
        """:return: who took the body of a whole exchange."""
        result = self.ask()
        self.wire.send(answer)
        return self.take(result)

    def test_reused(self):
        """One connection serves one request after another."""
        for _ in range(5):
            self.assertEqual(self.exchange().outcome, "OK:3")
        self.assertEqual(len(self.wires), 1)
        self.assertEqual(self.wire.sent().count(b"GET "), 5)

    def test_not_shared(self):
        """A connection serves one request at a time, and one host and port only."""
        self.exchange()
        self.ask()
        self.ask()
        self.ask(url=b"http://8.8.8.8:8001/x")
        self.ask(url=b"http://8.8.4.4:8000/x")
        self.assertEqual(len(self.wires), 4)

    def test_not_kept(self):
        """A connection whose other end says or implies that it will close is not used again."""
        for answer in (
            OK + b"Connection: close\r\nContent-Length: 3\r\n\r\nabc",
            OK + b"Connection: Keep-Alive, CLOSE\r\nContent-Length: 3\r\n\r\nabc",
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc",
            b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        ):
            self.make()
            self.exchange(answer)
            self.exchange()
            self.assertEqual(len(self.wires), 2, answer)
            self.assertTrue(self.wires[0].disconnecting)

    def test_injected_behind(self):
        """An answer behind the answer is not served to the next caller, nor its connection used."""
        for answer in (
            FILLED + INJECTED,
            CHUNKED + b"3\r\nabc\r\n0\r\n\r\n" + INJECTED,
            OK + b"Content-Length: 0\r\n\r\n" + INJECTED,
            b"HTTP/1.1 304 Not Modified\r\n\r\n" + INJECTED,
            FILLED + b"\r\n",
        ):
            self.make()
            self.assertNotIn(b"EVIL", b"".join(self.exchange(answer).pieces))
            self.assertEqual(b"".join(self.exchange().pieces), b"abc")
            self.assertEqual(len(self.wires), 2, answer)
            self.assertTrue(self.wires[0].disconnecting)

    def test_injected_later(self):
        """An answer on an idle connection closes it at once, before anybody can take it."""
        self.exchange()
        self.wire.send(INJECTED)
        self.assertTrue(self.wire.aborted)
        self.assertEqual(b"".join(self.exchange().pieces), b"abc")
        self.assertEqual(len(self.wires), 2)

    def test_body_in_two_reads(self):
        """Octets behind a body are noticed too when the body came in several reads."""
        result = self.ask()
        self.wire.send(FILLED[:-2])
        collector = self.take(result)
        self.wire.send(b"bc" + INJECTED)
        self.assertEqual(collector.outcome, "OK:3")
        self.assertTrue(self.wire.disconnecting)

    def test_closed_while_idle(self):
        """A connection that the workspace has closed is forgotten at once."""
        self.exchange()
        self.wire.lose(error.ConnectionDone())
        self.reactor.advance(10)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.exchange().outcome, "OK:3")
        self.assertEqual(len(self.wires), 2)

    def test_too_long_idle(self):
        """A connection is closed by us well before servers usually do it."""
        self.exchange()
        self.reactor.pump([1.0] * 31)
        self.assertFalse(self.wire.open)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_dead_connection(self):
        """A download on a connection that turns out to be dead is sent once more on a new one."""
        for method, reason in [
            (b"GET", error.ConnectionDone()),
            (b"GET", error.ConnectionLost()),
            (b"HEAD", error.ConnectionLost()),
        ]:
            self.make()
            self.exchange()
            result = self.ask(method)
            self.assertEqual(len(self.wires), 1)
            self.wire.lose(reason)
            self.accept()
            self.assertTrue(self.wire.sent().startswith(method))
            self.wire.send(FILLED if method == b"GET" else OK + b"\r\n")
            self.successResultOf(result)
            self.assertEqual(len(self.wires), 2)

    def test_dead_twice(self):
        """If the new connection dies too, that is the answer."""
        self.exchange()
        self.exchange()
        result = self.ask()
        self.wire.lose(error.ConnectionLost())
        self.accept().lose(error.ConnectionLost())
        self.failed(result, "workspace_unreachable")
        self.assertEqual(len(self.reactor.tcpClients), 2)

    def test_silent(self):
        """
        One that says nothing, because its other end is gone without a word, or hangs in what was
        asked before, would cost the whole time that there is for an answer.
        """
        for method in (b"GET", b"HEAD"):
            self.make()
            self.exchange()
            result = self.ask(method)
            self.reactor.advance(9.9)
            self.assertEqual(len(self.reactor.tcpClients), 1)
            self.reactor.advance(0.1)
            self.accept()
            self.assertTrue(self.wire.sent().startswith(method))
            self.reactor.advance(19.9)
            self.assertNoResult(result)
            self.wire.send(FILLED if method == b"GET" else OK + b"\r\n")
            self.successResultOf(result)
            self.assertEqual([wire.aborted for wire in self.wires], [True, False])

    def test_slow(self):
        """One that is only slow would be given up, and what it says in the end be lost."""
        for connected in (True, False):
            self.make()
            self.exchange()
            result = self.ask()
            self.reactor.advance(10)
            if connected:
                self.accept()
            self.reactor.advance(19.9)
            self.wires[0].send(FILLED)
            self.assertEqual(self.take(result).outcome, "OK:3")
            self.assertEqual(len(self.reactor.tcpClients), 2)
            if connected:
                self.assertTrue(self.wires[1].aborted)
            self.reactor.advance(0)
            self.ask()
            self.assertEqual(len(self.reactor.tcpClients), 2)

    def test_silent_and_refused(self):
        """That a second connection cannot be made says nothing of the first."""
        for ends in ("answer", "loss", "time"):
            self.make()
            self.exchange()
            result = self.ask()
            self.reactor.advance(10)
            factory = self.reactor.tcpClients[-1][2]
            reason = Failure(error.ConnectionRefusedError())
            factory.clientConnectionFailed(self.reactor.connectors[-1], reason)
            self.assertNoResult(result)
            if ends == "answer":
                self.wire.send(FILLED)
                self.successResultOf(result)
            elif ends == "loss":
                self.wire.lose(error.ConnectionLost())
                self.failed(result, "workspace_unreachable")
            else:
                self.reactor.advance(20)
                self.failureResultOf(result, UpstreamTimeout)
            self.assertEqual(len(self.reactor.tcpClients), 2)

    def test_silent_and_cancelled(self):
        """A caller that leaves would leave one of two connections behind."""
        self.exchange()
        result = self.ask()
        self.reactor.advance(10)
        self.accept()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual([wire.aborted for wire in self.wires], [True, True])
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_silent_twice(self):
        """A new connection is waited for no longer than for what is left."""
        self.exchange()
        result = self.ask()
        self.reactor.advance(10)
        self.accept()
        self.reactor.advance(19.9)
        self.assertNoResult(result)
        self.reactor.advance(0.1)
        self.failureResultOf(result, UpstreamTimeout)
        self.assertEqual([wire.aborted for wire in self.wires], [True, True])
        self.assertEqual(len(self.reactor.tcpClients), 2)

    def test_not_silent(self):
        """An answer that has begun has the whole time."""
        self.exchange()
        result = self.ask()
        self.wire.send(b"H")
        self.reactor.advance(10)
        self.assertFalse(self.wire.disconnecting)
        self.reactor.advance(19.9)
        self.wire.send(FILLED[1:])
        self.assertEqual(self.take(result).outcome, "OK:3")
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_dead_after_an_octet(self):
        """Once an answer has begun, the request is not sent again."""
        for octets in (b"H", b"HTTP/1.1 100 Continue\r\n\r\n"):
            self.make()
            self.exchange()
            result = self.ask()
            self.wire.send(octets)
            self.wire.lose(error.ConnectionLost())
            self.failed(result, "workspace_answered_badly")
            self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_new_connection_dies(self):
        """A request on a new connection is sent once."""
        result = self.ask()
        self.wire.lose(error.ConnectionLost())
        self.failed(result, "workspace_unreachable")
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_upload_once(self):
        """An upload takes a new connection, so that it need not be sent twice; and it is not."""
        self.exchange()
        upload = Upload()
        result = self.ask(b"POST", body=upload)
        self.assertEqual(len(self.wires), 2)
        self.wire.lose(error.ConnectionLost())
        self.failed(result, "workspace_unreachable")
        self.assertTrue(upload.stopped)
        self.assertEqual(len(self.reactor.tcpClients), 2)
        self.ask(b"POST")
        self.assertEqual(len(self.wires), 3)

    def asking_again(self, nested: list[Deferred[Any]]) -> Callable[[Any], Any]:
        """:return: a callback that makes a request and passes its argument on."""

        def ask_again(response: Any) -> Any:
            nested.append(self.ask())
            return response

        return ask_again

    def test_again_within_the_answer(self):
        """A request made while an answer is handed over does not get into its connection."""
        nested: list[Deferred[Any]] = []
        result = self.ask().addCallback(self.asking_again(nested))
        self.wire.send(FILLED)
        self.assertEqual(len(self.wires), 2)
        self.wire.send(FILLED)
        self.assertEqual(self.take(result).outcome, "OK:3")
        self.assertEqual(self.take(nested[0]).outcome, "OK:3")

    def test_again_within_an_empty_answer(self):
        """What follows an empty answer is not taken for the answer of a request made meanwhile."""
        nested: list[Deferred[Any]] = []
        self.ask().addCallback(self.asking_again(nested))
        self.wire.send(OK + b"Content-Length: 0\r\n\r\n" + INJECTED)
        self.assertEqual(len(self.wires), 2)
        self.wire.send(FILLED)
        self.assertEqual(b"".join(self.take(nested[0]).pieces), b"abc")

    def test_close(self):
        """At the end the kept connections are closed, and one that comes back is not kept."""
        result = self.ask()
        self.ask()
        self.wires[0].send(FILLED)
        self.take(result)
        closing = self.agent.close()
        self.assertNoResult(closing)
        self.reactor.advance(0)
        self.successResultOf(closing)
        self.assertEqual([wire.open for wire in self.wires], [False, True])
        self.wires[1].send(FILLED)
        self.reactor.advance(0)
        self.assertFalse(self.wires[1].open)


class TimeTests(UpstreamTestCase):
    """A workspace has so long for its head in all, and a caller may leave at any time."""

    def test_total(self):
        """A head that drips is timed out in total, not per octet."""
        result = self.ask()
        for octet in FILLED[:29]:
            self.reactor.advance(1)
            self.wire.send(bytes([octet]))
        self.assertNoResult(result)
        self.reactor.advance(1)
        told = self.failureResultOf(result, UpstreamTimeout).value
        self.assertEqual((told.status, told.text), (504, "workspace did not answer"))
        self.assertTrue(self.wire.aborted)
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_body_has_its_own_time(self):
        """The deadline ends with the head: a body may take as long as it takes."""
        result = self.ask()
        self.wire.send(OK + b"Content-Length: 2\r\n\r\na")
        collector = self.take(result)
        self.reactor.advance(1000)
        self.wire.send(b"b")
        self.assertEqual(collector.outcome, "OK:2")

    def test_includes_the_second_attempt(self):
        """Both attempts of a download share the one deadline."""
        result = self.ask()
        self.wire.send(FILLED)
        self.take(result)
        result = self.ask()
        self.reactor.advance(12)
        self.wire.lose(error.ConnectionLost())
        self.accept()
        self.reactor.advance(17.9)
        self.assertNoResult(result)
        self.reactor.advance(0.1)
        self.failureResultOf(result, UpstreamTimeout)

    def test_upload(self):
        """The deadline of an upload begins when its body has been sent."""
        for length in (3, UNKNOWN_LENGTH):
            self.make()
            upload = Upload(length)
            result = self.ask(b"POST", body=upload)
            self.reactor.advance(1000)
            upload.consumer.write(b"abc")
            upload.done.callback(None)
            self.reactor.advance(29.9)
            self.assertNoResult(result)
            self.reactor.advance(0.1)
            self.failureResultOf(result, UpstreamTimeout)
            self.assertTrue(self.wire.aborted)

    def test_cancel(self):
        """A caller that leaves before the answer has its connection aborted at once."""
        for octets in (b"", b"HTTP/1.1 200 OK\r\n"):
            self.make()
            result = self.ask()
            self.wire.send(octets)
            result.cancel()
            self.failureResultOf(result, CancelledError)
            self.assertTrue(self.wire.aborted)
            self.reactor.advance(0)
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cancel_on_a_kept_connection(self):
        """A request that was given up is not sent again."""
        result = self.ask()
        self.wire.send(FILLED)
        self.take(result)
        result = self.ask()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_cancel_an_upload(self):
        """A caller that leaves in the middle of its upload takes the upstream with it."""
        for length in (3, UNKNOWN_LENGTH):
            self.make()
            upload = Upload(length)
            result = self.ask(b"POST", body=upload)
            result.cancel()
            self.failureResultOf(result, CancelledError)
            self.assertTrue(self.wire.aborted)


def deliver(response: Any, collector: Collector) -> None:
    """Let *collector* take the body as soon as there is one."""
    response.deliverBody(collector)


class UploadTests(UpstreamTestCase):
    """An upload ends in the workspace's answer, whenever that comes, or in what broke it."""

    def test_answered(self):
        """The usual order: the whole body, then the answer, and the end of the connection."""
        for length in (3, UNKNOWN_LENGTH):
            self.make()
            upload = Upload(length)
            result = self.ask(b"POST", body=upload)
            upload.consumer.write(b"abc")
            upload.done.callback(None)
            self.assertNoResult(result)
            self.assertIn(b"\r\nConnection: close\r\n", self.wire.sent())
            self.wire.send(FILLED)
            self.assertEqual(self.take(result).outcome, "OK:3")
            # What we have sent may be unread, or unsent, and stay so.
            self.assertTrue(self.wire.aborted)
            self.ask()
            self.assertEqual(len(self.wires), 2)

    def test_answered_early(self):
        """An answer that comes first is taken; the rest of the body is not wanted any more."""
        refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge"
        for length in (9, UNKNOWN_LENGTH):
            for size in (len(refusal), 7, 1):
                self.make()
                upload = Upload(length)
                result = self.ask(b"POST", body=upload)
                upload.consumer.write(b"abc")
                self.wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                self.assertFalse(upload.stopped)
                collector = Collector()
                result.addCallback(deliver, collector)
                for start in range(0, len(refusal), size):
                    self.wire.send(refusal[start : start + size])
                self.successResultOf(result)
                self.assertEqual(collector.outcome, "OK:5")
                self.assertTrue(upload.stopped)
                self.assertIsNone(self.wire.producer)
                self.assertTrue(self.wire.aborted)
                self.reactor.advance(0)
                self.assertFalse(self.wire.open)

    def test_stopped_producer_fails(self):
        """What becomes of a body that is not wanted any more is nobody's concern."""
        upload = Upload()
        result = self.ask(b"POST", body=upload)
        self.wire.send(FILLED)
        self.assertEqual(self.take(result).outcome, "OK:3")
        upload.done.errback(ZeroDivisionError())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_stopped_producer_ends(self):
        """A body that ends after the answer begins no deadline."""
        for length in (3, UNKNOWN_LENGTH):
            self.make()
            upload = Upload(length)
            result = self.ask(b"POST", body=upload)
            upload.consumer.write(b"abc")
            self.wire.send(FILLED)
            self.assertEqual(self.take(result).outcome, "OK:3")
            upload.done.callback(None)
            self.reactor.advance(0)
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_answered_early_and_cut(self):
        """A cut of the early answer is seen as one."""
        result = self.ask(b"POST", body=Upload())
        self.wire.send(OK + b"Content-Length: 9\r\n\r\nabc")
        collector = self.take(result)
        self.wire.lose(error.ConnectionLost())
        self.assertEqual(collector.outcome, "ABORT")

    def test_answered_badly(self):
        """Nonsense in the middle of an upload ends it."""
        for length in (9, UNKNOWN_LENGTH):
            self.make()
            upload = Upload(length)
            result = self.ask(b"POST", body=upload)
            self.wire.send(b"nonsense\r\n")
            self.failed(result, "workspace_answered_badly")
            self.assertTrue(upload.stopped)
            self.assertTrue(self.wire.aborted)
            self.reactor.advance(0)
            self.assertEqual(self.flushLoggedErrors(), [])

    def test_cut(self):
        """A workspace that goes away in the middle of an upload is unreachable."""
        for length in (9, UNKNOWN_LENGTH):
            self.make()
            upload = Upload(length)
            result = self.ask(b"POST", body=upload)
            self.wire.lose(error.ConnectionLost())
            self.failed(result, "workspace_unreachable")
            self.assertTrue(upload.stopped)

    def test_body_fails(self):
        """What stops the body, such as a limit, is what the caller is told, not a 502."""
        for length in (9, UNKNOWN_LENGTH):
            self.make()
            upload = Upload(length)
            result = self.ask(b"POST", body=upload)
            upload.done.errback(TooLarge())
            self.failureResultOf(result, TooLarge)
            self.assertTrue(self.wire.aborted)


class ReadSizeTests(UpstreamTestCase):
    """Large bodies are read in large pieces; everything else as usual."""

    def test_sizes(self):
        """Only a large body raises the read size, and only until it ends."""
        for head, during in [
            (OK + b"Content-Length: 1000\r\n\r\n", SMALL_READ),
            (OK + b"Content-Length: 65537\r\n\r\n", READ_SIZE),
            (CHUNKED, SMALL_READ),
        ]:
            self.make()
            result = self.ask()
            self.assertEqual(self.wire.bufferSize, SMALL_READ)
            self.wire.send(head)
            self.take(result)
            self.wire.send(b"1")
            self.assertEqual(self.wire.bufferSize, during, head)
            self.wire.lose(error.ConnectionLost())
            self.assertEqual(self.wire.bufferSize, SMALL_READ)

    def test_end_of_body(self):
        """A connection that is kept goes back to small reads."""
        result = self.ask()
        self.wire.send(LARGE)
        self.take(result)
        self.wire.send(b"abc")
        self.assertEqual(self.wire.bufferSize, READ_SIZE)
        self.wire.send(b"x" * (SMALL_READ - 2))
        self.assertEqual(self.wire.bufferSize, SMALL_READ)
        self.assertFalse(self.wire.disconnecting)

    def test_crowded(self):
        """A workspace that makes chunks of one byte keeps everybody else waiting for it."""
        for chunks, during in ((MANY_CHUNKS, SMALL_READ), (MANY_CHUNKS + 1, TINY_READ)):
            result = self.ask()
            self.wire.send(CHUNKED)
            collector = self.take(result)
            self.wire.send(b"1\r\nx\r\n" * chunks)
            self.wire.send(b"3\r\nabc\r\n")
            self.assertEqual(self.wire.bufferSize, during)
            self.wire.send(b"0\r\n\r\n")
            self.assertEqual(self.wire.bufferSize, SMALL_READ)
            self.assertEqual(collector.outcome, f"OK:{chunks + 3}")
        self.assertEqual(len(self.wires), 1)

    def test_many(self):
        """Many large bodies at once share what we are ready to hold."""
        for _ in range(64):
            result = self.ask()
            self.wire.send(LARGE)
            self.take(result)
        self.wires[0].send(b"1")
        self.assertEqual(self.wires[0].bufferSize, READ_SIZE // 4)


class Served(Protocol):
    """Answers every request with what the test has prepared, in turn."""

    transport: Any
    factory: Any

    def connectionMade(self) -> None:
        """Count it."""
        self.factory.connections.append(self)
        self.buffer = b""

    def dataReceived(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            request, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            self.factory.requests.append(request)
            answer, then = self.factory.script.pop(0)
            self.transport.write(answer)
            if then == "close":
                self.transport.loseConnection()
            elif then == "reset":
                self.transport.abortConnection()


class ServingFactory(ServerFactory):
    """Follows a script of answers and of what is done after each: keep, close or reset."""

    noisy = False
    protocol = Served

    def __init__(self, script: list[tuple[bytes, str]]) -> None:
        self.script = script
        self.connections: list[Served] = []
        self.requests: list[bytes] = []


class SocketTests(TestCase):
    """The same over real sockets, where reads, closes and resets come as they come."""

    async def serve(self, *script: tuple[bytes, str]) -> bytes:
        """:return: the URL of a server that follows *script*."""
        self.server = ServingFactory(list(script))
        port: Any = reactor.listenTCP(0, self.server, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        policy = AddressPolicy(parse_networks(["127.0.0.0/8"]))
        lookups = NameLookup(lambda _lookup, host: self.fail(f"looked up {host}"), clock=Clock())
        self.agent = UpstreamAgent(Dialer(reactor, policy, lookups))
        self.addCleanup(self.agent.close)
        return b"http://127.0.0.1:%d/x" % port.getHost().port

    async def get(self, url: bytes) -> Collector:
        """:return: what took the body of a GET."""
        response = await self.agent.request(b"GET", url)
        collector = Collector()
        done: Deferred[None] = Deferred()
        taken = collector.connectionLost

        def lost(reason: Failure) -> None:
            taken(reason)
            done.callback(None)

        collector.connectionLost = lost  # type: ignore[method-assign, assignment]
        response.deliverBody(collector)
        await done
        return collector

    async def test_reuse(self):
        """One connection is enough for requests in turn; concurrent ones have their own."""
        url = await self.serve(*[(FILLED, "keep")] * 8)
        for _ in range(4):
            self.assertEqual((await self.get(url)).outcome, "OK:3")
        self.assertEqual(len(self.server.connections), 1)
        await gatherResults([Deferred.fromCoroutine(self.get(url)) for _ in range(4)])
        self.assertEqual(len(self.server.connections), 4)

    async def test_closed_by_the_server(self):
        """A server that closes or resets after each answer costs a dial, never an error."""
        url = await self.serve(
            *[(FILLED, "close"), (FILLED, "keep"), (b"", "reset")] * 3, (FILLED, "keep")
        )
        for _ in range(7):
            self.assertEqual((await self.get(url)).outcome, "OK:3")
        self.assertEqual(len(self.server.requests), 10)

    async def test_large(self):
        """A large body arrives whole, in large reads, and the connection is kept."""
        size = 32 * READ_SIZE
        answer = OK + b"Content-Length: %d\r\n\r\n" % size + b"x" * size
        url = await self.serve((answer, "keep"), (FILLED, "keep"))
        collector = await self.get(url)
        self.assertEqual(collector.outcome, f"OK:{size}")
        self.assertGreater(max(map(len, collector.pieces)), SMALL_READ)
        self.assertEqual((await self.get(url)).outcome, "OK:3")
        self.assertEqual(len(self.server.connections), 1)

    async def test_cut(self):
        """A cut is seen as one, by close and by reset."""
        cut = OK + b"Content-Length: 1000\r\n\r\nabc"
        url = await self.serve((cut, "close"))
        self.assertEqual((await self.get(url)).outcome, "ABORT")

    async def test_refused(self):
        """A port where nobody listens is unreachable."""
        await self.serve()
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = b"http://127.0.0.1:%d/x" % unused.getsockname()[1]
            refused: Any = await self.assertFailure(self.agent.request(b"GET", url), UpstreamFailed)
        self.assertIn("refused", refused.detail)

    async def test_tls(self):
        """Over TLS too connections are used again, bodies arrive whole, and cuts are seen."""
        authority, key = make_certificate(None, None)
        certificate, own_key = make_certificate(authority, key, x509.DNSName("ws.test"))
        pem = certificate.public_bytes(Encoding.PEM) + own_key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        size = 3 * READ_SIZE
        large = OK + b"Content-Length: %d\r\n\r\n" % size + b"x" * size
        cut = OK + b"Content-Length: 1000\r\n\r\nabc"
        kept = [(FILLED, "keep"), (large, "keep"), (FILLED + INJECTED, "keep")]
        server = ServingFactory(
            [*kept, (FILLED, "close"), (FILLED, "keep"), (cut, "close"), (b"nonsense", "keep")]
        )
        tls_reactor: Any = reactor
        port = tls_reactor.listenSSL(
            0, server, PrivateCertificate.loadPEM(pem).options(), interface="127.0.0.1"
        )
        self.addCleanup(port.stopListening)
        agent = UpstreamAgent(
            Dialer(
                reactor,
                AddressPolicy(parse_networks(["127.0.0.0/8"])),
                NameLookup(
                    lambda _lookup, _host: succeed([ip_address("127.0.0.1")]), clock=Clock()
                ),
                tls=BrowserLikePolicyForHTTPS(
                    Certificate.loadPEM(authority.public_bytes(Encoding.PEM))
                ),
            )
        )
        self.addCleanup(agent.close)
        self.agent = agent
        url = b"https://ws.test:%d/x" % port.getHost().port
        for expected, connections in [
            ("OK:3", 1),
            (f"OK:{size}", 1),
            ("OK:3", 1),
            ("OK:3", 2),
            ("OK:3", 3),
            ("ABORT", 3),
        ]:
            self.assertEqual((await self.get(url)).outcome, expected)
            self.assertEqual(len(server.connections), connections)
        bad: Any = await self.assertFailure(agent.request(b"GET", url), UpstreamFailed)
        self.assertEqual(bad.code, "workspace_answered_badly")

    async def test_treq(self):
        """With treq on top every octet arrives as it was sent, and no cookie is kept."""
        raw = bytes(range(256)) * 300
        answer = OK + b"Set-Cookie: a=b\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw
        url = await self.serve((answer, "keep"), (answer, "keep"))
        client = HTTPClient(self.agent)
        for _ in range(2):
            response = await client.get(url.decode(), unbuffered=True, allow_redirects=False)
            self.assertEqual(await response.content(), raw)
            self.assertEqual(list(response.cookies()), [])
        self.assertEqual(len(self.server.connections), 1)
        for request in self.server.requests:
            self.assertIn(b"\r\nAccept-Encoding: identity", request)
            self.assertEqual(request.lower().count(b"accept-encoding"), 1)
            self.assertNotIn(b"Cookie", request)
