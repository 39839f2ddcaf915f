"""
The HTTP client with which a workspace calls its platform.
"""

from __future__ import annotations

# ``getaddrinfo`` needs it: loaded later, the user of ``twistd --uid`` might not be able to read it.
import encodings.idna  # noqa: F401
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.web.client import URI, Agent
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IPolicyForHTTPS
from zope.interface import implementer

__all__ = ["PlatformEndpoints", "platform_agent"]


def platform_agent(reactor: Any, connect_timeout: float, tls: IPolicyForHTTPS) -> IAgent:
    """
    :param reactor: makes the connections.
    :param connect_timeout: seconds to connect.
    :param tls: verifies the platform.
    :return: an agent like Twisted's own, which does not log each connection.
    """
    agent: IAgent = Agent.usingEndpointFactory(
        reactor, PlatformEndpoints(reactor, connect_timeout, tls)
    )
    return agent


@implementer(IAgentEndpointFactory)
class PlatformEndpoints:
    """
    Makes the connections of a workspace to its platform.

    :param reactor: makes them.
    :param connect_timeout: seconds to connect.
    :param tls: verifies the platform.
    """

    def __init__(self, reactor: Any, connect_timeout: float, tls: IPolicyForHTTPS) -> None:
        self._reactor = reactor
        self._connect_timeout = connect_timeout
        self._policy = tls

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """:return: what connects to the host of *uri*."""
        host = uri.host.decode("ascii")
        tcp = HostnameEndpoint(self._reactor, host, uri.port, timeout=self._connect_timeout)
        if uri.scheme != b"https":
            return _QuietEndpoint(tcp)
        return _QuietEndpoint(wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), tcp))


@implementer(IStreamClientEndpoint)
class _QuietEndpoint:
    """With Twisted's endpoints, each heartbeat would log "Starting factory" and "Stopping …"."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        factory: Any = protocolFactory
        factory.noisy = False
        connected: Deferred[IProtocol] = self._endpoint.connect(protocolFactory)
        return connected
