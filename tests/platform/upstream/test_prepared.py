"""
What is given to treq, and what of it arrives: a contract with the installed treq.
"""

from __future__ import annotations

import inspect
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar, scoped_cookie
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from chatfiles.http.message_head.response import HeadScanner
from chatfiles.platform.forwarding.gateway import WorkspaceGateway, original_response
from chatfiles.platform.forwarding.requests import DownloadRequest, UploadRequest
from chatfiles.platform.forwarding.response import relayed_headers
from chatfiles.platform.forwarding.target import WorkspaceAddress
from chatfiles.platform.upstream.prepared import NoCookies, PreparedHeaders, PreparedURL
from chatfiles.platform.upstream.response import UpstreamResponse, headers_of, known_headers
from chatfiles.rules.header_fields import HeaderFields, HeaderValues
from chatfiles.rules.urls import parse_workspace_url
from tests.contract.registry_case import FIRST
from tests.platform.upstream.upstream_case import Upload, UpstreamTestCase

LINES = b"Authorization: Bearer abc\r\nX-Request-Id: id\r\n"
#: URLs that hyperlink would write in another way.
URLS = (
    "http://8.8.8.8:80/internal/file/read?path=/workspace/a",
    "http://8.8.8.8/a%2Fb%2fc/%7E~?path=%41%zz&&x=&disposition",
    "https://EXAMPLE.com:443/./a/../b//c?",
    "http://xn--bcher-kva.example/[x]?'\"|<>{}^`\\",
    "http://[::1]:8000/a;b=c?d+e%20f",
)
OK = b"HTTP/1.1 200 OK\r\nServer: x\r\nDate: Sun, 09 Sep 2001 01:46:40 GMT\r\nX-Request-Id: a\r\n"


class Agent:
    """Records what arrives at the agent."""

    def __init__(self) -> None:
        self.requests: list[tuple[bytes, bytes, Any, Any]] = []
        self.result: Deferred[Any] = Deferred()

    def request(
        self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None
    ) -> Deferred[Any]:
        """See `twisted.web.iweb.IAgent`."""
        self.requests.append((method, uri, headers, bodyProducer))
        self.result = Deferred()
        return self.result


class TreqTests(SynchronousTestCase):
    """The installed treq hands over what it is given."""

    def setUp(self) -> None:
        self.agent = Agent()
        self.jar = NoCookies()
        agent: Any = self.agent
        self.client = HTTPClient(agent, cookiejar=self.jar)

    def ask(self, url: str = URLS[0], **more: Any) -> tuple[bytes, bytes, Any, Any]:
        """:return: what arrives at the agent."""
        headers = PreparedHeaders(LINES, b"owner")
        self.client.request(
            "GET",
            PreparedURL(url),
            headers=headers,
            cookies=self.jar,
            allow_redirects=False,
            unbuffered=True,
            reactor=object(),  # type: ignore[arg-type]
            **more,
        )
        received: tuple[bytes, bytes, Any, Any] = self.agent.requests.pop()
        self.assertIs(received[2], headers)
        return received

    def test_url(self) -> None:
        """A URL arrives as it was given, however unusual."""
        for url in URLS:
            self.assertEqual(self.ask(url)[1], url.encode())

    def test_headers(self) -> None:
        """Neither an encoding nor cookies nor a content type is added to the lines."""
        headers = self.ask()[2]
        self.assertEqual((headers.lines, headers.owner), (LINES, b"owner"))
        self.assertEqual(list(headers.getAllRawHeaders()), [])

    def test_body(self) -> None:
        """A body arrives as it was given."""
        body = Upload()
        _, _, headers, received = self.ask(data=body)
        self.assertIs(received, body)
        self.assertEqual(list(headers.getAllRawHeaders()), [])

    def test_cookies(self) -> None:
        """A cookie that a workspace sets is neither kept nor sent again."""
        for url in URLS[:2]:
            headers = PreparedHeaders(LINES, b"owner")
            self.client.request("GET", PreparedURL(url), headers=headers, cookies=self.jar)
            request = self.agent.requests[-1]
            self.assertEqual(list(request[2].getAllRawHeaders()), [])
            self.agent.result.callback(_response(b"Set-Cookie: a=b; Path=/\r\n"))
        self.assertEqual((len(self.jar), vars(self.jar)["_cookies"]), (0, {}))

    def test_jar(self) -> None:
        """The jar overrides every way in which cookies come in and go out of treq's own."""
        self.assertIsInstance(self.jar, IndexableCookieJar)
        jar: Any = self.jar
        cookie = next(iter(_full_jar()))
        jar.set_cookie(cookie)
        self.assertEqual(jar._cookies, {})

    def test_parameters(self) -> None:
        """treq documents the parameters that are used."""
        parameters = inspect.signature(HTTPClient.request).parameters
        used = ("headers", "data", "cookies", "allow_redirects", "unbuffered", "reactor")
        for name in used:
            self.assertIn(name, parameters)


def _full_jar() -> IndexableCookieJar:
    jar = IndexableCookieJar()
    jar.set_cookie(scoped_cookie("http://8.8.8.8/", "a", "b"))
    return jar


def _response(lines: bytes) -> Any:
    head = HeadScanner(b"GET").feed(OK + b"Content-Length: 0\r\n" + lines + b"\r\n")
    assert head is not None
    request: Any = type("Request", (), {"method": b"GET", "absoluteURI": URLS[0].encode()})()
    return UpstreamResponse(head, request, None, "dial")


class PreparedHeadersTests(SynchronousTestCase):
    """Headers that never change."""

    def test_unchanged(self) -> None:
        """Copies are the same headers; additions, also of cookies, are ignored."""
        headers = PreparedHeaders(LINES, b"owner")
        headers.addRawHeader(b"Accept-Encoding", b"gzip")
        self.assertIs(headers.copy(), headers)
        self.assertTrue(headers.hasHeader(b"cookie"))
        self.assertEqual(headers.lines, LINES)


class GatewayTests(UpstreamTestCase):
    """What a workspace receives, through treq and the agent."""

    def setUp(self) -> None:
        super().setUp()
        self.gateway = WorkspaceGateway(self.agent, self.reactor)
        self.address(b"secret")

    def address(self, secret: bytes) -> None:
        """Set the address of the workspace."""
        url = parse_workspace_url("http://8.8.8.8:8000/base")
        self.target = WorkspaceAddress(FIRST, url, secret.decode())

    def read(
        self, fields: HeaderFields | None = None, disposition: str | None = None
    ) -> Deferred[Any]:
        wanted = DownloadRequest(
            b"GET", b"/workspace/a b\xff", disposition, fields or HeaderValues(), "id"
        )
        dialled = len(self.reactor.tcpClients)
        result = self.gateway.read(self.target, wanted)
        if len(self.reactor.tcpClients) > dialled:
            self.accept()
        return result

    def test_download(self) -> None:
        """The bytes of a request; the id is the last line."""
        for fields in (
            HeaderValues(),
            Headers(),
            Headers({b"Cookie": [b"a=b"], b"Accept-Encoding": [b"gzip"], b"If-Range": [b"x"]}),
        ):
            self.make()
            self.gateway = WorkspaceGateway(self.agent, self.reactor)
            self.read(fields)
            self.assertEqual(
                self.wire.sent(),
                b"GET /base/internal/file/read?path=/workspace/a%20b%FF HTTP/1.1\r\n"
                b"Host: 8.8.8.8:8000\r\nAccept-Encoding: identity\r\n"
                b"Authorization: Bearer secret\r\nVia: 1.1 chatfiles\r\nX-Request-Id: id\r\n\r\n",
            )

    def test_conditions(self) -> None:
        """Headers about versions and parts are forwarded, from both kinds of headers alike."""
        lines = {b"range": [b"bytes=0-1"], b"if-range": [b"x"], b"if-match": [b"a", b"b"]}
        sent = []
        for fields in (HeaderValues(lines), Headers(lines)):
            self.make()
            self.gateway = WorkspaceGateway(self.agent, self.reactor)
            self.read(fields, "inline")
            sent.append(self.wire.sent())
        self.assertEqual(sent[0], sent[1])
        self.assertIn(
            b"\r\nRange: bytes=0-1\r\nIf-Match: a\r\nIf-Match: b\r\nIf-Range: x\r\n", sent[0]
        )
        self.assertIn(b"&disposition=inline HTTP", sent[0])

    def test_upload(self) -> None:
        """The content type of an upload is sent; treq adds none of its own."""
        body = Upload(3)
        store = UploadRequest([(b"Content-Type", b"multipart/form-data; boundary=x")], body, "id")
        Deferred.fromCoroutine(self.gateway.store(self.target, store))
        self.accept()
        sent = self.wire.sent()
        self.assertEqual(sent.count(b"Content-Type"), 1)
        self.assertIn(b"\r\nContent-Type: multipart/form-data; boundary=x\r\n", sent)
        self.assertIn(b"\r\nContent-Length: 3\r\n", sent)

    def test_secret(self) -> None:
        """A secret that another program stored with line ends cannot add a header line."""
        for secret in (b"abc\n", b"abc\r\nX: y", b"a\nb", b"a\rb\n\n"):
            self.make()
            self.gateway = WorkspaceGateway(self.agent, self.reactor)
            self.address(secret)
            self.read()
            lines = self.wire.sent().split(b"\r\n")
            self.assertEqual(len(lines), 8, lines)
            value = b" ".join(secret.splitlines())
            self.assertEqual(lines[3], b"Authorization: Bearer " + value)

    def test_cookies(self) -> None:
        """A cookie of one workspace is not sent to it or another one."""
        result = self.read()
        self.wire.sent()
        self.wire.send(OK + b"Set-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
        self.successResultOf(result)
        self.read()
        self.assertNotIn(b"ookie", self.wire.sent())

    def test_owner(self) -> None:
        """Name look-ups are those of the workspace."""
        agent: Any = Agent()
        self.gateway = WorkspaceGateway(agent, self.reactor)
        self.read()
        self.assertEqual(UUID(agent.requests[0][2].owner.decode()), FIRST)

    def test_original(self) -> None:
        """The response beneath treq's wrapper is found."""
        result = self.read()
        self.wire.send(OK + b"Content-Length: 0\r\n\r\n")
        response = self.successResultOf(result)
        self.assertIsNot(type(response), UpstreamResponse)
        self.assertIs(type(original_response(response)), UpstreamResponse)
        other: Any = object()
        self.assertIsNone(original_response(other))


class SharedHeadersTests(UpstreamTestCase):
    """Headers of responses, which are shared between responses."""

    def setUp(self) -> None:
        super().setUp()
        known_headers.cache_clear()
        self.gateway = WorkspaceGateway(self.agent, self.reactor)
        url = parse_workspace_url("http://8.8.8.8:8000")
        self.target = WorkspaceAddress(FIRST, url, "secret")

    def answer(self, lines: bytes) -> Headers:
        """:return: the headers of a response with these lines, after it went through treq."""
        wanted = DownloadRequest(b"GET", b"/workspace/a", None, HeaderValues(), "id")
        dialled = len(self.reactor.tcpClients)
        result = self.gateway.read(self.target, wanted)
        if len(self.reactor.tcpClients) > dialled:
            self.accept()
        self.wire.send(OK + b"Content-Length: 0\r\n" + lines + b"\r\n")
        response = self.successResultOf(result)
        headers: Headers = response.headers
        return headers

    @given(
        st.lists(
            st.sampled_from(
                (
                    b"ETag: x\r\n",
                    b"Content-Encoding: \r\n",
                    b"Content-Encoding: identity\r\n",
                    b"Content-Type: a/b\r\n",
                    b"Set-Cookie: a=b\r\n",
                )
            )
        )
    )
    def test_unchanged(self, lines: list[bytes]) -> None:
        """Using a response with the same headers again and again never changes them."""
        block = b"".join(lines)
        first = list(self.answer(block).getAllRawHeaders())
        for _ in range(3):
            self.assertEqual(list(self.answer(block).getAllRawHeaders()), first)

    def test_of_a_response(self) -> None:
        """
        The shared headers are those that each response would have of its own, but for what treq
        sets: an empty ``Content-Encoding``, which is not relayed.
        """
        for lines in (b"", b"Content-Type: a/b\r\nETag: x\r\n", b"Content-Encoding: identity\r\n"):
            for _ in range(2):
                shared = self.answer(lines)
            head = original_response(_response(lines))
            assert head is not None
            own = headers_of(head.head.fields, None)
            relayed = relayed_headers(b"GET", 200, 0, shared, b"a", False)
            self.assertEqual(relayed, relayed_headers(b"GET", 200, 0, own, b"a", False))
            own.setRawHeaders(b"content-encoding", shared.getRawHeaders(b"content-encoding", []))
            self.assertEqual(shared, own)

    def test_length_of_head(self) -> None:
        """The declared length is part of what is remembered: another file has another one."""
        fields = ((b"content-type", b"a/b"),)
        for length in (1, 2, None, 1):
            expected = None if length is None else [b"%d" % length]
            found = known_headers(fields, length).getRawHeaders(b"content-length")
            self.assertEqual(found, expected)
