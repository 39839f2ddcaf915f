"""
The agents beneath treq.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from chatfiles.client.core.errors import BadAnswer
from chatfiles.client.twisted.exchange import Exchange, Watched
from chatfiles.client.twisted.tls import Verified

__all__ = ["Exact", "Platform"]


class Platform:
    """
    Connects to one platform.

    :param reactor: connects.
    :param base_url: of the platform.
    :param ca: a file of certificate authorities; empty for none.
    :param connect_timeout: seconds.
    :raise OSError: the file cannot be read.
    """

    def __init__(self, reactor: Any, base_url: str, ca: str, connect_timeout: float) -> None:
        self._reactor = reactor
        self._connect_timeout = connect_timeout
        self._context: SSL.Context | None = None
        if urlsplit(base_url).scheme == "https":
            self._context = Verified.new_context(ca)

    def agent(self, exchange: Exchange) -> IAgent:
        """:return: what sends one request, on a connection of its own."""
        pool = HTTPConnectionPool(self._reactor, persistent=False)
        factory = _Endpoints(self, exchange)
        agent: IAgent = Agent.usingEndpointFactory(self._reactor, factory, pool)
        return agent

    def endpoint(self, uri: URI) -> IStreamClientEndpoint:
        """:return: what connects to the platform."""
        host = uri.host.decode("ascii").strip("[]")
        endpoint: IStreamClientEndpoint = HostnameEndpoint(
            self._reactor, host, uri.port, timeout=self._connect_timeout
        )
        if self._context is not None:
            endpoint = wrapClientTLS(Verified(host, self._context), endpoint)
        return endpoint


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, platform: Platform, exchange: Exchange) -> None:
        self._platform = platform
        self._exchange = exchange

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return Watched(self._platform.endpoint(uri), self._exchange)


@implementer(IAgent)
class Exact:
    """
    Sends a request as it is.  treq would accept encoded responses, and keep cookies.

    :param agent: sends it.
    :param uri: its URL, which treq does not see: it would write it in another form.
    """

    def __init__(self, agent: IAgent, uri: bytes) -> None:
        self._agent = agent
        self._uri = uri

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """See `IAgent`."""
        exact = Headers() if headers is None else headers.copy()
        exact.setRawHeaders(b"Accept-Encoding", [b"identity"])
        exact.removeHeader(b"Cookie")
        sent = self._agent.request(method, self._uri, exact, bodyProducer)
        return sent.addCallback(_checked)


def _checked(response: IResponse) -> IResponse:
    headers = response.headers
    codings = headers.getRawHeaders(b"Content-Encoding", [b"identity"])
    if [coding.strip().lower() for coding in codings] != [b"identity"]:
        raise BadAnswer("the response is encoded, which was not asked for")
    headers.removeHeader(b"Content-Encoding")
    headers.removeHeader(b"Set-Cookie")
    return response
