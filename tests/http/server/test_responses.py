"""
Coroutines that respond to requests, and the one place that converts errors into responses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import (
    ChatfilesError,
    Forbidden,
    MethodNotAllowed,
    NotFound,
    Unauthorized,
    Unavailable,
)
from chatfiles.http.server.json_body import MAX_JSON_BYTES, read_json
from chatfiles.http.server.probes import health, ready
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse, error_response
from chatfiles.http.server.router import Route, Router
from tests.support.memory_client import (
    CHUNKED,
    HEADER_TIMEOUT,
    IDLE_TIMEOUT,
    Caller,
    Received,
    chunked,
    get,
    post,
    tree,
)
from tests.support.resources import Endpoint


class Raising(Endpoint):
    """
    Raises *error*.

    :param written: is written before.
    """

    isLeaf = True
    operation = "raise"

    def __init__(self, error: BaseException, written: bytes | None = None) -> None:
        super().__init__()
        self._error, self._written = error, written

    async def render_GET(self, request: Request) -> JSONResponse:
        if self._written is not None:
            request.write(self._written)
        raise self._error


class Given(Endpoint):
    """Responds with the given `JSONResponse`, to both of its methods."""

    isLeaf = True

    def __init__(self, answer: JSONResponse) -> None:
        super().__init__()
        self._answer_given = answer

    async def render_POST(self, request: Request) -> JSONResponse:
        return self._answer_given

    render_DELETE = render_POST


class Json(Endpoint):
    """Responds with the JSON object that it has received."""

    isLeaf = True

    async def render_POST(self, request: Request) -> JSONResponse:
        return JSONResponse(200, await read_json(request))


def probes(role: str, check: Callable[[object], Awaitable[None]]) -> Router[None]:
    """:return: the two probes of a role, whose context is ``None``."""
    routes = (
        Route("GET", "/health", None, "", health(role)),
        Route("GET", "/ready", None, "", ready(role, check)),
    )
    return Router(routes, lambda route, request, _: route.handler(None, request))


async def always(context: object) -> None:
    """The role is always ready."""


def answer_to(root: Any, wire: bytes = b"") -> Received:
    return Caller(root).send(wire or get()).answer()


class ErrorTests(SynchronousTestCase):
    """Error responses (reference/errors, "Form")."""

    def test_members(self) -> None:
        """The response to an error has the members and headers on which clients rely."""
        plain = error_response(NotFound("no", code="x"), "id")
        self.assertEqual(plain.body, {"error": "no", "code": "x", "request_id": "id"})
        self.assertEqual((plain.status, plain.fields), (404, []))
        later = error_response(Unavailable(detail="why", retry_after=30), "id")
        self.assertEqual(later.fields, [(b"Retry-After", b"30")])
        assert isinstance(later.body, dict)
        self.assertEqual((later.body["detail"], later.body["retry_after_seconds"]), ("why", 30))
        self.assertEqual(
            error_response(Unauthorized(), "").fields, [(b"WWW-Authenticate", b"Bearer")]
        )
        allow = error_response(MethodNotAllowed(["GET", "HEAD"]), "").fields
        self.assertEqual(allow, [(b"Allow", b"GET, HEAD")])

    def test_told(self) -> None:
        """The message and the detail of an expected error reach the client."""
        answer = answer_to(Raising(Forbidden("nö", detail="d")))
        self.assertEqual(answer.status, 403)
        expected = {
            "error": "nö",
            "code": "permission_denied",
            "request_id": "new-1",
            "detail": "d",
        }
        self.assertEqual(answer.json, expected)
        self.assertIn("nö".encode(), answer.body)

    def test_internal(self) -> None:
        """An internal error is logged, and the client receives nothing of its text."""
        for error in (ValueError("s3cret"), CancelledError("s3cret")):
            caller = Caller(Raising(error)).send(get() + get())
            for answer in caller.answers():
                self.assertEqual((answer.status, answer.json["code"]), (500, "internal"))
                self.assertNotIn(b"s3cret", answer.body)
            self.assertEqual(len(caller.answers()), 2)
            self.assertEqual(len(self.flushLoggedErrors(type(error))), 2)

    def test_expected_ends(self) -> None:
        """An error that is expected every day is not logged with a traceback."""

        class Expected(Exception):
            outcome = "file_changed"

        self.assertEqual(answer_to(Raising(Expected())).status, 500)
        Caller(Raising(Expected(), b"x")).send(get())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_after_the_first_byte(self) -> None:
        """
        An error after the first byte aborts the connection: a part does not look complete, and the
        error is not appended to the content.
        """
        for error in (ValueError("x"), Forbidden(), CancelledError()):
            caller = Caller(Raising(error, b"some")).send(get() + get())
            answer = caller.answer()
            self.assertEqual((answer.status, answer.body, answer.complete), (200, b"some", False))
            self.assertTrue(caller.wire.aborted)
            self.assertEqual(caller.site.running, 0)
            self.assertEqual(
                len(self.flushLoggedErrors()), 0 if isinstance(error, ChatfilesError) else 1
            )

    def test_after_the_head(self) -> None:
        """An error after the headers aborts the connection too, as they have announced the body."""
        caller = Caller(Raising(ValueError("x"), b"")).send(get())
        self.assertEqual((caller.answer().complete, caller.wire.aborted), (False, True))
        self.flushLoggedErrors(ValueError)

    def test_caller_left(self) -> None:
        """An error that the client's disconnect has caused is not logged."""

        class Waiting(Endpoint):
            isLeaf = True

            async def render_GET(self, request: Request) -> None:
                await Deferred()

        caller = Caller(Waiting()).send(get())
        caller.leave()
        self.assertEqual((caller.answers(), self.flushLoggedErrors()), ([], []))


class EndpointTests(SynchronousTestCase):
    """Routes and methods."""

    def test_answers(self) -> None:
        """
        The response has the status, headers and JSON that were returned, and the site's headers.
        """
        fields = ((b"X-A", b"1"), (b"Location", b"/x"))
        answer = answer_to(Given(JSONResponse(201, {"ä": [1, None]}, fields)), post(b""))
        self.assertEqual((answer.status, answer.json), (201, {"ä": [1, None]}))
        self.assertEqual((answer.fields["x-a"], answer.fields["location"]), ("1", "/x"))
        for name, value in [
            ("content-type", "application/json"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("server", "chatfiles"),
            ("date", "Sun, 09 Sep 2001 01:46:40 GMT"),
        ]:
            self.assertEqual(answer.fields[name], value)

    def test_no_content(self) -> None:
        """A 204 has no body: a client takes it for the start of the next response."""
        caller = Caller(Given(JSONResponse(204))).send(post(b"") * 2)
        for answer in caller.answers():
            self.assertEqual((answer.status, answer.body), (204, b""))
            self.assertNotIn("transfer-encoding", answer.fields)
            self.assertNotIn("content-type", answer.fields)
        self.assertEqual(len(caller.answers()), 2)

    def test_methods(self) -> None:
        """Another method of a known route gets a 405 with the right ``Allow``, not a 404 or 501."""
        both, only_post = Raising(NotFound()), Given(JSONResponse(200, 0))
        for root, method, status, allow in [
            (both, b"GET", 404, None),
            (both, b"HEAD", 404, None),
            (both, b"POST", 405, "GET, HEAD"),
            (both, b"OPTIONS", 405, "GET, HEAD"),
            (both, b"get", 405, "GET, HEAD"),
            (both, b"BREW", 405, "GET, HEAD"),
            (only_post, b"GET", 405, "DELETE, POST"),
            (only_post, b"HEAD", 405, "DELETE, POST"),
            (only_post, b"DELETE", 200, None),
        ]:
            caller = Caller(root).send(get(method=method))
            answer = caller.answer(head=method == b"HEAD")
            self.assertEqual((answer.status, answer.fields.get("allow")), (status, allow), method)

    def test_no_route(self) -> None:
        """A path without a route gets a 404, whatever the method."""
        given = Given(JSONResponse(200, 0))
        given.isLeaf = False
        root = tree(a=given)
        for path in (
            b"/",
            b"/b",
            b"/a/b",
            b"/a/",
            b"//a",
            b"/A",
            b"/a%2f",
            b"/%61/%61",
            b"/a?/b/c",
        ):
            for method in (b"GET", b"POST", b"BREW"):
                answer = answer_to(root, get(path, method=method))
                if path.startswith(b"/a?"):
                    self.assertNotEqual(answer.status, 404)
                else:
                    self.assertEqual((answer.status, answer.json["code"]), (404, "no_route"), path)
        self.assertEqual(answer_to(root, get(b"/%61", method=b"POST")).status, 200)


class JsonTests(SynchronousTestCase):
    """Bodies that are JSON."""

    def test_objects(self) -> None:
        """A JSON object is read as it was sent, chunked or not."""
        for text in ('{"a": "ü\\n", "b": [1, {}]}', "{}", ' {"a": 1} '):
            self.assertEqual(answer_to(Json(), post(text.encode())).status, 200)
        body = get(b"/", CHUNKED, method=b"POST") + chunked(b'{"a"', b":1}")
        self.assertEqual(answer_to(Json(), body).json, {"a": 1})

    def test_no_objects(self) -> None:
        """
        A body that is not a JSON object gets a 400; it does not fail later, as an internal error.
        """
        deep = b"[" * (MAX_JSON_BYTES - 1)
        for text in (b"", b"[]", b"1", b"null", b"{", b'{"a": "\xff"}', b"\xff\xfe{\0}\0", deep):
            answer = answer_to(Json(), post(text))
            self.assertEqual((answer.status, answer.json["code"]), (400, "invalid_json"), text[:9])

    def test_coded(self) -> None:
        """A body with a content coding is refused before it is sent; ``identity`` is none."""
        lines = (b"Content-Length: 2", b"Expect: 100-continue")
        for codings, statuses in (
            ((b"gzip",), [415]),
            ((b"identity", b"BR"), [415]),
            ((b"Identity", b""), [100, 200]),
        ):
            fields = [b"Content-Encoding: " + coding for coding in codings]
            caller = Caller(Json()).send(get(b"/", *lines, *fields, method=b"POST"))
            if statuses[0] == 100:
                self.assertIn(b"100 Continue", caller.wire.value())
                caller.send(b"{}")
            self.assertEqual(caller.answers()[-1].status, statuses[-1], codings)
            if statuses == [415]:
                self.assertNotIn(b"100 Continue", caller.wire.value())

    def test_too_large(self) -> None:
        """A body over the limit gets a 413 and is not read into memory."""
        text = b'{"a":"%b"}' % (b"x" * MAX_JSON_BYTES)
        self.assertEqual(answer_to(Json(), post(text)).status, 413)
        self.assertEqual(
            answer_to(Json(), get(b"/", CHUNKED, method=b"POST") + chunked(text)).status, 413
        )

    def test_too_slow(self) -> None:
        """
        A body that is incomplete after the header timeout gets a 408, so that a slow client does
        not hold its request, and the access that was checked for it, for days.
        """
        for head in (b"Content-Length: 1000", CHUNKED):
            caller = Caller(Json()).send(get(b"/", head, method=b"POST"))
            for _ in range(3):
                caller.advance(HEADER_TIMEOUT / 3 - 1)
                caller.send(b"{" if head != CHUNKED else b"1\r\n{\r\n")
            self.assertEqual(caller.answers(), [])
            caller.advance(3)
            answer = caller.answer()
            self.assertEqual((answer.status, answer.json["code"]), (408, "request_timeout"))
            caller.advance(IDLE_TIMEOUT)
            self.assertEqual((caller.lost, caller.clock.getDelayedCalls()), (True, []))

    def test_in_time(self) -> None:
        """The timeout of a body that came in time has no effect later."""
        caller = Caller(Json()).send(post(b"{}"))
        self.assertEqual(caller.answer().status, 200)
        caller.advance(HEADER_TIMEOUT + 1)
        self.assertEqual((caller.answer().status, caller.lost), (200, False))


class ProbeTests(SynchronousTestCase):
    """``/health`` and ``/ready`` (reference/routes, "Health and readiness")."""

    def test_health(self) -> None:
        """``/health`` reports to load balancers that the process serves, and its role."""
        answer = answer_to(probes("platform", always), get(b"/health"))
        self.assertEqual((answer.status, answer.json), (200, {"status": "ok", "role": "platform"}))

    def test_ready(self) -> None:
        """
        ``/ready`` fails while the process cannot serve clients, so that load balancers avoid it.
        """
        missing: list[ChatfilesError] = []

        async def check(context: object) -> None:
            if missing:
                raise missing[0]

        caller = Caller(probes("workspace", check))
        self.assertEqual(caller.send(get(b"/ready")).answer().status, 200)
        caller.wire.clear()
        missing.append(Unavailable("registry unreachable", code="registry"))
        answer = caller.send(get(b"/ready")).answer()
        self.assertEqual((answer.status, answer.json["error"]), (503, "registry unreachable"))
        missing.clear()
        caller.site.draining = True
        health = Caller(site=caller.site).send(get(b"/health")).answer()
        ready = Caller(site=caller.site).send(get(b"/ready")).answer()
        self.assertEqual((health.status, ready.status, ready.json["code"]), (200, 503, "draining"))
