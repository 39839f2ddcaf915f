"""
What the tests of the channel share: a platform in memory, which accepts or refuses connections.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from chatfiles.http.server.site import Site
from chatfiles.runtime.settings import ChannelSettings
from chatfiles.workspace.channel.service import ChannelService, PlatformAddress
from tests.support.memory_client import (
    HEADER_TIMEOUT,
    IDLE_TIMEOUT,
    CountingSite,
    Echo,
    Held,
    Received,
    Wire,
    parse,
    tree,
)

TOKEN = "token-" + "t" * 37
UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: ptth\r\n"
    b"ALPN: http%2F1.1\r\nChatfiles-Node: node-1\r\n\r\n"
)


class PlatformWire(Wire):
    """A connection to the platform, whose protocol can be replaced, as that of a socket."""

    protocol: Any = None

    @property
    def closed(self) -> bool:
        return self.protocol is None or self.disconnecting


class Attempt:
    """One connection that the workspace makes."""

    def __init__(self, factory: IProtocolFactory) -> None:
        self._factory = factory
        self.wire = PlatformWire()
        self.cancelled = False
        self.connected: Deferred[Any] = Deferred(self._cancel)
        self._read = 0

    def _cancel(self, _: object) -> None:
        self.cancelled = True

    def connect(self) -> None:
        """The connection is made."""
        protocol: Any = self._factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        self.wire.protocol = protocol
        protocol.makeConnection(self.wire)
        self.connected.callback(protocol)

    def fail(self) -> None:
        """The connection cannot be made."""
        self.connected.errback(Failure(error.ConnectionRefusedError()))

    def send(self, data: bytes) -> None:
        """The platform sends bytes."""
        self.wire.protocol.dataReceived(data)
        if self.wire.disconnecting:
            self.lose()

    def lose(self) -> None:
        """The connection is closed."""
        protocol, self.wire.protocol = self.wire.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(error.ConnectionDone()))

    def sent(self) -> bytes:
        """:return: what the workspace has sent since the last time."""
        value: bytes = self.wire.value()
        sent, self._read = value[self._read :], len(value)
        return sent

    def ask(self, target: bytes, *lines: bytes) -> Received:
        """:return: the response to a request of the platform."""
        self.sent()
        self.send(b"\r\n".join([b"GET " + target + b" HTTP/1.1", b"Host: x", *lines, b"", b""]))
        (response,) = parse(self.sent())
        return response


@implementer(IStreamClientEndpoint)
class Endpoint:
    """
    The way to the platform.

    :ivar attempts: all connections that were made.
    """

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.clock: Any = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        self.attempts.append(Attempt(protocolFactory))
        return self.attempts[-1].connected


class ChannelCase(SynchronousTestCase):
    """
    A channel whose platform is the test.

    :ivar registrations: how often the channel has asked for another registration.
    """

    idle, most = 4, 64

    def setUp(self) -> None:
        self.clock = Clock()
        self.jitter, self.registrations = 1.0, 0
        self.token: str | None = TOKEN
        self.endpoint = Endpoint()
        self.held = Held()
        self.site: Site = CountingSite(
            tree(echo=Echo(), held=self.held, health=Echo()),
            self.clock,
            header_timeout=HEADER_TIMEOUT,
            idle_timeout=IDLE_TIMEOUT,
        )
        self.channel = ChannelService(
            self.clock,
            PlatformAddress("https://p/x", b"p:8443", b"/x/registry/channel", self.endpoint),
            self.site,
            ChannelSettings(self.idle, self.most),
            lambda: succeed(self.token),
            self._register,
            lambda: self.jitter,
        )
        captured = capturedLogs()
        self.events = captured.__enter__()
        self.addCleanup(captured.__exit__, None, None, None)
        self.addCleanup(self._stop)

    def _register(self) -> None:
        self.registrations += 1

    def _stop(self) -> None:
        self.channel.stopService()
        for attempt in self.endpoint.attempts:
            attempt.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def log(self) -> list[str]:
        """:return: what was logged for operators, without the beginning."""
        texts = [
            formatEvent(event)
            for event in self.events
            if event["log_level"].name != "debug" and "channel to" in event["log_format"]
        ]
        return [text.partition(": ")[2] for text in texts]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Connections that wait, that serve, and that are being made."""
        pool = self.channel.pool
        return len(pool.waiting), len(pool.serving), pool.opening

    def new(self) -> list[Attempt]:
        """:return: the connections that were begun since the last time."""
        new = [attempt for attempt in self.endpoint.attempts if not hasattr(attempt, "seen")]
        for attempt in new:
            attempt.seen = True  # type: ignore[attr-defined]
        return new

    def accept(self, *attempts: Attempt, rest: bytes = b"") -> None:
        """Accept connections."""
        for attempt in attempts:
            attempt.connect()
            attempt.send(UPGRADED + rest)

    def refuse(self, attempt: Attempt, status: int, code: str = "c", **more: str) -> None:
        """Refuse a connection."""
        attempt.connect()
        body = json.dumps({"error": "why", "code": code}).encode()
        lines = [f"{name}: {value}" for name, value in more.items()]
        head = [f"HTTP/1.1 {status} No", f"Content-Length: {len(body)}", *lines]
        attempt.send("\r\n".join([*head, "", ""]).encode() + body)

    def open(self) -> list[Attempt]:
        """:return: connections that wait for requests."""
        self.channel.registered()
        attempts = self.new()
        self.accept(*attempts)
        return attempts

    def next_attempts(self) -> tuple[float, int]:
        """:return: seconds until the next attempts, which then begin, and their number."""
        before = self.clock.seconds()
        for _ in range(3):  # deadlines take a turn more
            due = min(call.getTime() for call in self.clock.getDelayedCalls())
            self.clock.advance(due - self.clock.seconds())
            if count := len(self.endpoint.attempts) - self._seen():
                return self.clock.seconds() - before, count
        return self.clock.seconds() - before, 0

    def _seen(self) -> int:
        return sum(hasattr(attempt, "seen") for attempt in self.endpoint.attempts)
