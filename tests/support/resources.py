"""
Resources for tests of the server that need no table of routes.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from chatfiles.errors import MethodNotAllowed
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse, serve, write_no_route

__all__ = ["Branch", "Endpoint", "NoRoute"]


class Endpoint(Resource):
    """
    A resource whose ``render_METHOD`` methods are coroutines; see `serve` for what they return.

    :cvar operation: the name of a request in the access log; requests with an empty one are not
        logged.
    :cvar ends_with_client: whether a request is cancelled when the client closes its sending side.
    """

    operation = ""
    ends_with_client = False

    def getChild(self, path: bytes, request: Request) -> Resource:
        """:return: the resource for a path that ``putChild`` has not added: always 404."""
        return NoRoute()

    def render(self, request: Request) -> int:
        """
        Serve the request.

        :return: the value that ``render`` of a resource has to return.
        """
        request.operation = request.operation or self.operation
        request.ends_with_client = self.ends_with_client
        # Twisted's render_HEAD would call render_GET.  `Request` drops the body of such a response.
        method = "GET" if request.method == b"HEAD" else request.method.decode("ascii", "replace")
        handler = getattr(self, f"render_{method}", self._refuse_method)
        return serve(request, handler(request))

    def allowed(self) -> Sequence[str]:
        """:return: the names of the methods that it supports, sorted."""
        own = {name[7:] for name in dir(self) if name.startswith("render_")}
        return sorted(own if "GET" in own else own - {"HEAD"})

    async def _refuse_method(self, request: Request) -> JSONResponse | None:
        raise MethodNotAllowed(self.allowed())


class NoRoute(Endpoint):
    """Responds with 404 to any method."""

    isLeaf = True

    def render(self, request: Request) -> int:
        """
        Write the response.

        :return: the value that ``render`` of a resource has to return.
        """
        write_no_route(request)
        return NOT_DONE_YET


class Branch(NoRoute):
    """A resource that only has children."""

    isLeaf = False
