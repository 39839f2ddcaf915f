"""
What the tests of spliced relays share: a client, a relay and a workspace over the loopback address.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from chatfiles.errors import UpstreamFailed
from chatfiles.http.server.request import Request
from chatfiles.platform.forwarding.response import relay_body, write_headers
from chatfiles.platform.forwarding.upload_body import UploadBody
from chatfiles.platform.upstream.agent import UpstreamAgent
from chatfiles.platform.upstream.dialer import Dialer
from chatfiles.rules.address_policy import AddressPolicy, parse_networks
from chatfiles.runtime.name_lookup import NameLookup
from chatfiles.streams.splice import Splicer
from tests.support.loopback import Loopback
from tests.support.memory_client import IDLE_TIMEOUT, get
from tests.support.resources import Endpoint

__all__ = ["HOP", "MIB", "RECEIVE", "SIZE", "Server", "SpliceCase", "body_of", "head"]

MIB = 1 << 20
SIZE = 8 * MIB
#: Sizes of buffers that a test asks for; the kernel doubles them.
SEND, RECEIVE = 256 * 1024, 512 * 1024
#: The most bytes in flight on a connection with such buffers.
HOP = 2 * (SEND + RECEIVE)
#: The most bytes of an upload.
LIMIT = 64 * MIB


def head(length: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length


def body_of(received: bytes) -> bytes:
    """:return: what has been received of the body."""
    return received.partition(b"\r\n\r\n")[2]


class Workspace(Protocol):
    """Sends what the test lets it send."""

    transport: Any
    factory: Any

    def connectionMade(self) -> None:
        self.factory.connections.append(self)
        self.closed = False

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(self.factory.answer)

    def connectionLost(self, reason: object = None) -> None:
        self.closed = True


class Server(ServerFactory):
    """Makes workspaces."""

    protocol = Workspace
    noisy = False
    connections: list[Workspace]
    answer: bytes


class Relaying(Endpoint):
    """Relays the response of an upstream, and the body of an upload to it."""

    isLeaf = True
    operation = "relay"
    ends_with_client = True
    via_proxy = False

    def __init__(self, agent: Any, url: bytes, splicer: Splicer) -> None:
        super().__init__()
        self.agent, self.url, self.splicer = agent, url, splicer
        self.requests: list[Request] = []
        self.upstream: Any = None

    async def render_GET(self, request: Request) -> None:
        self.requests.append(request)
        request.via_proxy = self.via_proxy
        response = await self.agent.request(b"GET", self.url)
        self.upstream = response._transport
        write_headers(request, response, b"x")
        clock: Any = request.site.reactor
        await relay_body(request, response, clock, IDLE_TIMEOUT, self.splicer)

    async def render_PUT(self, request: Request) -> None:
        self.requests.append(request)
        self.body = UploadBody(request.body, LIMIT, splicer=self.splicer)
        try:
            response = await self.agent.request(b"PUT", self.url, None, self.body)
        except UpstreamFailed as error:
            raise self.body.error or error from None
        write_headers(request, response, None)
        clock: Any = request.site.reactor
        await relay_body(request, response, clock, IDLE_TIMEOUT)


class SpliceCase(TestCase):
    """A client, a relay, and a workspace, all over the loopback address."""

    def setUp(self) -> None:
        self.splices: list[int] = []
        real = os.splice

        def counted(*arguments: Any, **more: Any) -> int:
            count = real(*arguments, **more)
            self.splices.append(count)
            return count

        self.patch(os, "splice", counted)
        self.made: set[str] = set()
        make = os.pipe2

        def recorded(flags: int) -> tuple[int, int]:
            ends = make(flags)
            self.made.add(os.readlink(f"/proc/self/fd/{ends[0]}"))
            return ends

        self.patch(os, "pipe2", recorded)
        self.addCleanup(lambda: self.assertEqual(self.open_pipes(), 0))

    def open_pipes(self) -> int:
        """:return: the number of open descriptors of pipes that were made in this test."""
        found = 0
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):
                found += os.readlink(f"/proc/self/fd/{fd}") in self.made
        return found

    def listen(self, factory: Any) -> bytes:
        """:return: the URL of a server whose sockets have small send buffers."""
        port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
        port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND)
        self.addCleanup(port.stopListening)
        return b"http://127.0.0.1:%d/x" % port.getHost().port

    def start(self, url: bytes, splicer: Splicer | None = None) -> Loopback:
        """:return: a client of a relay to *url*."""
        policy = AddressPolicy(parse_networks(["127.0.0.0/8"]))
        lookups = NameLookup(lambda _lookup, host: self.fail(f"looked up {host}"), clock=Clock())
        agent = UpstreamAgent(Dialer(reactor, policy, lookups))
        self.root = Relaying(agent, url, splicer or Splicer(in_flight=HOP))
        client = Loopback(self, reactor, self.root, receive_buffer=RECEIVE)
        self.addCleanup(agent.close)
        return client

    async def ask(self, client: Loopback) -> None:
        await client.connected()
        client.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND)
        await client.send(get())

    async def settle(self) -> None:
        """Let everything happen that can happen without the client."""
        for _ in range(300):
            await deferLater(reactor, 0)
