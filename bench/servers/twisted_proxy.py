"""
``python -m bench.servers.twisted_proxy PORT UPSTREAM_PORT``: a proxy of twisted.web's server and
client, with back-pressure, and without any check.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IResponse
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from bench.servers.twisted_files import run

__all__ = ["Forward", "Relay", "main"]


class Relay(Protocol):
    """Writes the body of an upstream's response to the response of a request."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def connectionMade(self) -> None:
        """Apply back-pressure to the upstream."""
        producer: Any = self.transport
        self._request.registerProducer(producer, True)

    def dataReceived(self, data: bytes) -> None:
        """Write a part."""
        self._request.write(data)

    def connectionLost(self, reason: Failure = Failure(ConnectionError())) -> None:  # noqa: B008
        """End the response."""
        if self._request.channel is not None:
            self._request.unregisterProducer()
            self._request.finish()


class Forward(Resource):
    """Forwards every ``GET``."""

    isLeaf = True

    def __init__(self, port: int) -> None:
        super().__init__()
        pool = HTTPConnectionPool(reactor)
        pool.maxPersistentPerHost = 64
        self._agent = Agent(reactor, pool=pool)
        self._base = b"http://127.0.0.1:%d" % port

    def render_GET(self, request: Request) -> int:
        """Forward."""
        responding = self._agent.request(b"GET", self._base + request.uri)
        responding.addCallback(self._respond, request)
        return NOT_DONE_YET

    def _respond(self, response: IResponse, request: Request) -> None:
        request.setResponseCode(response.code)
        request.responseHeaders.setRawHeaders(b"content-length", [b"%d" % response.length])
        response.deliverBody(Relay(request))


def main(port: str, upstream: str) -> None:
    """Serve."""
    run(int(port), Forward(int(upstream)))


if __name__ == "__main__":
    main(*sys.argv[1:])
