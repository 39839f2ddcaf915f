"""
What the tests of the upstream agent share: connections in memory, and requests through them.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from chatfiles.errors import ChatfilesError
from chatfiles.platform.upstream.agent import UpstreamAgent
from chatfiles.platform.upstream.dialer import Dialer
from chatfiles.rules.address_policy import AddressPolicy
from chatfiles.runtime.name_lookup import NameLookup
from chatfiles.streams.transports import SMALL_READ

__all__ = [
    "BODY",
    "CHUNKED",
    "FILLED",
    "INJECTED",
    "LARGE",
    "OK",
    "URL",
    "Collector",
    "Upload",
    "UpstreamTestCase",
    "Wire",
    "deliver",
]

URL = b"http://8.8.8.8:8000/base/internal/file/read?path=/workspace/a%20b"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
FILLED = OK + b"Content-Length: 3\r\n\r\nabc"
BODY = b"x" * 1000
LARGE = OK + b"Content-Length: %d\r\n\r\n" % (SMALL_READ + 1)
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
INJECTED = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"


class Wire(StringTransport):
    """One connection in memory, which closes when the reactor next runs, as a real one does."""

    def __init__(self, clock: MemoryReactorClock, protocol: Any) -> None:
        super().__init__()
        self.clock = clock
        self.protocol = protocol
        self.open = True
        self.aborted = False
        self.bufferSize = SMALL_READ
        protocol.makeConnection(self)

    def loseConnection(self) -> None:
        """Close it."""
        if not self.disconnecting:
            super().loseConnection()
            self.clock.callLater(0, self.lose, error.ConnectionDone())

    def abortConnection(self) -> None:
        """Close it, whatever is left to send."""
        self.aborted = True
        self.loseConnection()

    def stopProducing(self) -> None:
        """As a socket does."""
        self.loseConnection()

    def unregisterProducer(self) -> None:
        """As a socket does; it is no error if there is none."""
        self.producer = None

    def lose(self, reason: Exception) -> None:
        """Notify the protocol that the connection is lost."""
        if self.open:
            self.open = False
            self.protocol.connectionLost(Failure(reason))

    def send(self, data: bytes) -> None:
        """Let the workspace send *data*."""
        if self.open and not self.disconnecting:
            self.protocol.dataReceived(data)

    def sent(self) -> bytes:
        """:return: what the agent has sent since the last call."""
        data: bytes = self.value()
        self.clear()
        return data


class Collector(Protocol):
    """Collects a body."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """A piece of it."""
        self.pieces.append(data)

    def connectionLost(self, reason: Failure = Failure(error.ConnectionDone())) -> None:  # noqa: B008
        """Its end."""
        self.reason = reason

    @property
    def outcome(self) -> str:
        """The outcome, as in the table of `tests.platform.upstream.test_agent`."""
        if self.reason is None:
            return "OPEN"
        if self.reason.check(ResponseDone):
            return f"OK:{len(b''.join(self.pieces))}"
        return "ABORT" if self.reason.check(ResponseFailed) else repr(self.reason)


@implementer(IBodyProducer)
class Upload:
    """A request body that the test writes."""

    def __init__(self, length: Any = UNKNOWN_LENGTH) -> None:
        self.length = length
        self.consumer: Any = None
        self.stopped = False
        self.done: Deferred[None] = Deferred()

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """Begin."""
        self.consumer = consumer
        return self.done

    def stopProducing(self) -> None:
        """No more is wanted."""
        self.stopped = True

    def pauseProducing(self) -> None:
        """Wait."""

    def resumeProducing(self) -> None:
        """Resume."""


class UpstreamTestCase(SynchronousTestCase):
    """An agent whose network is in memory."""

    def setUp(self):
        """Public addresses only; 30 seconds for the headers, five for a connection."""
        self.make()

    def make(self) -> None:
        """Start with a new agent."""
        self.reactor = MemoryReactorClock()
        self.found: list[Any] = []
        lookups = NameLookup(lambda _lookup, _host: self.found.pop(0), clock=Clock())
        dialer = Dialer(self.reactor, AddressPolicy(), lookups, connect_timeout=5.0)
        self.agent = UpstreamAgent(dialer, header_timeout=30.0, idle_timeout=20.0)
        self.wires: list[Wire] = []

    def ask(
        self,
        method: bytes = b"GET",
        url: bytes = URL,
        headers: Headers | None = None,
        body: Any = None,
    ) -> Deferred[Any]:
        """:return: the result of a request; new connections are accepted at once."""
        dialled = len(self.reactor.tcpClients)
        result = self.agent.request(method, url, headers, body)
        if len(self.reactor.tcpClients) > dialled:
            self.accept()
        return result

    def accept(self) -> Wire:
        """Accept the last connection."""
        protocol = self.reactor.tcpClients[-1][2].buildProtocol(None)
        self.wires.append(Wire(self.reactor, protocol))
        return self.wires[-1]

    @property
    def wire(self) -> Wire:
        """The connection that was made last."""
        return self.wires[-1]

    def take(self, result: Deferred[Any]) -> Collector:
        """:return: the collector of the body of a response that has arrived."""
        collector = Collector()
        self.successResultOf(result).deliverBody(collector)
        return collector

    def failed(self, result: Deferred[Any], code: str) -> ChatfilesError:
        """:return: the error of *result*, which must have *code*."""
        failure = self.failureResultOf(result, ChatfilesError)
        assert isinstance(failure.value, ChatfilesError)
        self.assertEqual(failure.value.code, code)
        return failure.value


def deliver(response: Any, collector: Collector) -> None:
    """Deliver the body of *response* to *collector*."""
    response.deliverBody(collector)
