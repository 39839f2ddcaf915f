"""
A table of routes, and the resource that serves it.

Each role has one table (``routes/route_table.py``).  The router looks up the path with one
dictionary access for each segment, then the method.  A path that is not in the table is 404 with
the code ``no_route``.  A method that its path does not support is 405 with ``Allow``.  Both precede
every other check, including that of credentials.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from chatfiles.errors import ChatfilesError, MethodNotAllowed
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse, serve, write_no_route

__all__ = ["ANY", "Handler", "Route", "Router"]

AccessT = TypeVar("AccessT")

#: The method of a route for every method.
ANY = "*"
_ANY = ANY.encode("ascii")

#: Serves the requests of one route; see `chatfiles.http.server.responses.serve` for what it returns
#: and raises.  Each role defines the arguments, because a role's ``dispatch`` calls it.
Handler = Callable[..., Coroutine[Any, Any, JSONResponse | None]]


@dataclass(frozen=True)
class Route(Generic[AccessT]):
    """
    One method of one path: a row of the table.

    :param method: such as ``GET``.  A path that supports ``GET`` supports ``HEAD``, too.  `ANY` is
        every method that no other route of the path has: the handler refuses those that do not fit.
    :param path: a template, such as ``/workspaces/{workspace_id}/tokens``.  ``{name}`` matches one
        segment that is not empty.  A literal segment of another route at the same place has
        precedence.
    :param access: which clients may use the route.  The role's ``dispatch`` checks it.
    :param operation: the name of its requests in the access log; requests with an empty one are not
        logged.
    :param handler: serves its requests.
    :param overrides: whether a ``POST`` with ``X-HTTP-Method-Override`` counts as this method, on a
        path that has no ``POST``.
    :param rights: the change of rights that its requests ask for, for the audit log; empty
        without one.
    :param ends_with_client: whether a request is cancelled when the client closes its sending side,
        because another server works for the response.
    """

    method: str
    path: str
    access: AccessT
    operation: str
    handler: Handler
    ends_with_client: bool = False
    overrides: bool = False
    rights: str = ""


#: Serves a request of a route: checks the access, then calls its handler.  The strings are the
#: values of the path's parameters, percent-decoded; bytes that are not UTF-8 become U+FFFD.
Dispatch = Callable[
    [Route[AccessT], Request, Sequence[str]], Coroutine[Any, Any, JSONResponse | None]
]


@dataclass(slots=True)
class _Node(Generic[AccessT]):
    """
    A node in the tree of paths.

    :ivar children: the nodes for literal segments that may follow.
    :ivar parameter: the node for every other segment; ``None`` if no parameter may follow.
    :ivar routes: the routes of the path that ends here, by method.
    """

    children: dict[bytes, _Node[AccessT]] = field(default_factory=dict)
    parameter: _Node[AccessT] | None = None
    routes: dict[bytes, Route[AccessT]] = field(default_factory=dict)

    def child(self, segment: str) -> _Node[AccessT]:
        """:return: the node for *segment* of a template; it is added if it does not exist."""
        if not _is_parameter(segment):
            return self.children.setdefault(segment.encode("ascii"), _Node())
        if self.parameter is None:
            self.parameter = _Node()
        return self.parameter

    def add(self, route: Route[AccessT]) -> None:
        """
        :param route: ends at this node.
        :raise ValueError: the path has a route for this method already.
        """
        method = route.method.encode("ascii")
        if method in self.routes:
            raise ValueError(f"two routes for {route.method} {route.path}")
        self.routes[method] = route
        if route.method == "GET":
            self.routes.setdefault(b"HEAD", route)

    def route_for(self, request: Request) -> Route[AccessT] | None:
        """:return: the route for the method of *request*; ``None`` if the path has none."""
        route = self.routes.get(request.method) or self.routes.get(_ANY)
        if route is not None or request.method != b"POST":
            return route
        given = request.requestHeaders.getRawHeaders(b"x-http-method-override", ())
        meant = self.routes.get(given[0]) if len(given) == 1 else None
        return meant if meant is not None and meant.overrides else None


class Router(Resource, Generic[AccessT]):
    """
    Serves a table of routes.  It can be the root of a `chatfiles.http.server.site.Site`, or be
    mounted anywhere below one with ``putChild``.  The paths of the table are relative to the mount
    point.

    :param routes: the table.
    :param dispatch: serves a request of a route.
    :param prepare: is called with each request first, also if it has no route; it may set headers,
        and how errors are written.
    """

    isLeaf = True

    def __init__(
        self,
        routes: Iterable[Route[AccessT]],
        dispatch: Dispatch[AccessT],
        prepare: Callable[[Request], None] = lambda _: None,
    ) -> None:
        super().__init__()
        self._dispatch = dispatch
        self._prepare = prepare
        self._root: _Node[AccessT] = _Node()
        for route in routes:
            node = self._root
            for segment in route.path[1:].split("/"):
                node = node.child(segment)
            node.add(route)

    def render(self, request: IRequest) -> int:
        """
        Serve the request.

        :return: the value that ``render`` of a resource has to return.
        :raise RuntimeError: the site is not a `chatfiles.http.server.site.Site`.
        """
        if not isinstance(request, Request):
            raise RuntimeError(
                "chatfiles resources can only be served by chatfiles.http.server.site.Site, not by "
                "twisted.web.server.Site: use the former as the factory of your endpoint"
            )
        self._prepare(request)
        values: list[bytes] = []
        node = self._find(request.postpath or (), values)
        if node is None or not node.routes:
            write_no_route(request)
            return NOT_DONE_YET
        route = node.route_for(request)
        named = route or next(iter(node.routes.values()))  # a 405 is logged with an operation, too
        request.operation = named.operation
        request.ends_with_client, request.rights = named.ends_with_client, named.rights
        if route is None:
            return serve(request, _refuse_method(node.routes))
        if route.operation or route.rights:
            refusal = request.site.refusal()
            if refusal is not None:
                return serve(request, _refuse(refusal))
        return serve(request, self._dispatch(route, request, [_text(value) for value in values]))

    def _find(self, segments: Iterable[bytes], values: list[bytes]) -> _Node[AccessT] | None:
        """
        :param segments: of the path.
        :param values: the values of the path's parameters are appended to it.
        :return: the node at which the path ends; ``None`` if there is none.
        """
        node = self._root
        for segment in segments:
            child = node.children.get(segment)
            if child is None:
                child = node.parameter
                if child is None or not segment:
                    return None
                values.append(segment)
            node = child
        return node


async def _refuse_method(methods: Iterable[bytes]) -> JSONResponse | None:
    raise MethodNotAllowed(sorted(method.decode("ascii") for method in methods))


async def _refuse(error: ChatfilesError) -> JSONResponse | None:
    raise error


def _is_parameter(segment: str) -> bool:
    return segment.startswith("{")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
