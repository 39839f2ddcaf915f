"""
A table of routes: which of them serves a request, and where the table can be mounted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Site as StockSite

from chatfiles.errors import Forbidden, Unavailable
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.http.server.router import ANY, Route, Router
from tests.support.memory_client import Caller, Received, get


async def given(request: Request, *parameters: str) -> JSONResponse:
    """Respond with the route and its parameters."""
    route = request.operation
    return JSONResponse(200, {"route": route, "parameters": parameters})


async def dispatch(
    route: Route[str], request: Request, parameters: Sequence[str]
) -> JSONResponse | None:
    if route.access == "nobody":
        raise Forbidden
    return await route.handler(request, *parameters)


ROUTES = (
    Route("GET", "/things", "", "list", given),
    Route("POST", "/things", "", "create", given),
    Route("GET", "/things/{thing_id}", "", "show", given),
    Route("GET", "/things/new", "", "new", given),
    Route("DELETE", "/things/{thing_id}/parts/{part_id}", "", "remove", given),
    Route("OPTIONS", "/uploads", "", "options", given),
    Route(ANY, "/open", "", "open", given),
    Route("GET", "/open", "", "read", given),
    Route("PUT", "/locked", "nobody", "locked", given, ends_with_client=True),
)


def answer_to(root: Any, target: bytes, method: bytes = b"GET") -> Received:
    return Caller(root).send(get(target, method=method)).answer(head=method == b"HEAD")


class RouterTests(SynchronousTestCase):
    """Which route serves a request."""

    def test_found(self) -> None:
        """A request is served by its route, with the parameters in its path."""
        for method, target, route, parameters in [
            (b"GET", b"/things", "list", []),
            (b"GET", b"/things?a/b", "list", []),
            (b"GET", b"/%74hings", "list", []),
            (b"POST", b"/things", "create", []),
            (b"GET", b"/things/a", "show", ["a"]),
            (b"GET", b"/things/a%2Fb%20", "show", ["a/b "]),
            (b"GET", b"/things/%FF", "show", ["\ufffd"]),
            (b"GET", b"/things/new", "new", []),
            (b"DELETE", b"/things/a/parts/b", "remove", ["a", "b"]),
            (b"OPTIONS", b"/uploads", "options", []),
        ]:
            answer = answer_to(Router(ROUTES, dispatch), target, method)
            self.assertEqual(answer.json, {"route": route, "parameters": parameters}, target)

    def test_head(self) -> None:
        """``HEAD`` has the status and headers of ``GET``."""
        got, head = (answer_to(Router(ROUTES, dispatch), b"/things", m) for m in (b"GET", b"HEAD"))
        self.assertEqual((head.status, head.fields), (got.status, got.fields))

    def test_no_route(self) -> None:
        """A path that is not in the table gets a 404, whatever the method."""
        for target in (
            *(b"/", b"//", b"//things", b"/thing", b"/Things", b"/things/", b"/things/a/"),
            *(b"/things//parts/b", b"/things/a/parts", b"/things/a/parts/", b"/things/new/parts/b"),
            *(b"/things/a/parts/b/c", b"/{thing_id}", b"/things%2Fa", b"/uploads/a"),
        ):
            for method in (b"GET", b"POST", b"BREW"):
                answer = answer_to(Router(ROUTES, dispatch), target, method)
                self.assertEqual((answer.status, answer.json["code"]), (404, "no_route"), target)

    def test_methods(self) -> None:
        """Another method of a known path gets a 405, with the path's methods in ``Allow``."""
        for method, target, allow in [
            (b"DELETE", b"/things", "GET, HEAD, POST"),
            (b"get", b"/things", "GET, HEAD, POST"),
            (b"OPTIONS", b"/things/a", "GET, HEAD"),
            (b"HEAD", b"/things/a/parts/b", "DELETE"),
            (b"GET", b"/uploads", "OPTIONS"),
            (b"GET", b"/locked", "PUT"),  # before the client's access is checked
        ]:
            answer = answer_to(Router(ROUTES, dispatch), target, method)
            self.assertEqual((answer.status, answer.fields["allow"]), (405, allow), target)

    def test_any_method(self) -> None:
        """A route for any method has those that no other route of its path has."""
        for method, route in (
            (b"GET", "read"),
            (b"POST", "open"),
            (b"OPTIONS", "open"),
            (b"X", "open"),
            (b"*", "open"),
        ):
            answer = answer_to(Router(ROUTES, dispatch), b"/open", method)
            self.assertEqual((answer.status, answer.json["route"]), (200, route))

    def test_refused(self) -> None:
        """An error that the role's check raises becomes the response."""
        self.assertEqual(answer_to(Router(ROUTES, dispatch), b"/locked", b"PUT").status, 403)

    def test_unavailable(self) -> None:
        """While operations are refused, those without an operation are served."""
        rows = (
            Route("GET", "/probe", "", "", given),
            Route("GET", "/files", "", "read", given),
            Route("GET", "/rights", "", "", given, rights="token.create"),
        )
        statuses = []
        for path in (b"/probe", b"/files", b"/rights"):
            caller = Caller(Router(rows, dispatch), refusal=Unavailable).send(get(path))
            statuses.append(caller.answer().status)
        self.assertEqual(statuses, [200, 503, 503])

    def test_request(self) -> None:
        """
        The request has the operation of its route, for the log, and ends with its client if the
        route says so.
        """
        seen: list[tuple[str, bool]] = []

        async def spy(route: Route[str], request: Request, _: Any) -> JSONResponse:
            seen.append((request.operation, request.ends_with_client))
            return JSONResponse(204)

        for method, target in ((b"PUT", b"/locked"), (b"GET", b"/things")):
            answer_to(Router(ROUTES, spy), target, method)
        self.assertEqual(seen, [("locked", True), ("list", False)])

    def test_twice(self) -> None:
        """Two routes for the same requests are an error, as one of them is never used."""
        for path in ("/things/{other}", "/things/new", "/things"):
            row = Route("GET", path, "", "", given)
            self.assertRaises(ValueError, Router, (*ROUTES, row), dispatch)


class MountedTests(SynchronousTestCase):
    """A table of routes in another program's site."""

    def test_below_a_prefix(self) -> None:
        """The routes are found below the prefix at which the table is mounted."""
        root, api = Resource(), Resource()
        root.putChild(b"api", api)
        api.putChild(b"files", Router(ROUTES, dispatch))
        self.assertEqual(answer_to(root, b"/api/files/things/a").json["parameters"], ["a"])
        for target in (b"/api/files", b"/api/files/", b"/api/files/x"):
            self.assertEqual(answer_to(root, target).json["code"], "no_route", target)
        self.assertEqual(answer_to(root, b"/api/things").status, 404)

    def test_stock_site(self) -> None:
        """In Twisted's own site, a request fails with an error that names the required class."""
        site = StockSite(Router(ROUTES, dispatch), reactor=Clock())
        channel, transport = site.buildProtocol(None), StringTransport()
        channel.makeConnection(transport)
        channel.dataReceived(get(b"/things"))
        self.assertEqual(transport.value().split(b"\r\n")[0], b"HTTP/1.1 500 Internal Server Error")
        (error,) = self.flushLoggedErrors(RuntimeError)
        self.assertIn("chatfiles.http.server.site.Site", str(error.value))
