"""
What the tests of PostgreSQL's faults share: a proxy that can hang, and helpers that make calls.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import CancelledError, gatherResults
from twisted.internet.endpoints import HostnameEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from chatfiles.errors import RegistryUnavailable
from chatfiles.model import token_hash
from tests.contract.registry_case import FIRST, add_workspace, begun
from tests.platform.registry.postgres.postgres_case import REACTOR, PostgresTestCase, pause
from tests.support.patience import PATIENCE

#: Seconds of delay to allow on a loaded machine, after a deadline.
LATE = PATIENCE


class Side(Protocol):
    """One of the two connections of a `Hop`."""

    def __init__(self, hop: Hop) -> None:
        self.hop = hop
        self.other: Side | None = None
        self.early = b""

    def dataReceived(self, data: bytes) -> None:
        if self.hop.hangs:
            return
        if self.other is None or self.other.transport is None:
            self.early += data
        else:
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure = Failure(CancelledError())) -> None:  # noqa: B008
        self.hop.sides.discard(self)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.loseConnection()


class Hop(Factory):
    """
    A proxy to the server that can hang (connected, but forwarding nothing) or close connections at
    once.
    """

    noisy = False

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.target = HostnameEndpoint(REACTOR, parts.hostname, parts.port or 5432)
        self.hangs = self.refuses = False
        self.sides: set[Side] = set()

    def buildProtocol(self, addr: object) -> Side | None:
        if self.refuses:
            return None
        near = Side(self)
        self.sides.add(near)
        if not self.hangs:
            far = Side(self)
            connectProtocol(self.target, far).addCallback(self._connected, near)
        return near

    def _connected(self, far: Side, near: Side) -> None:
        assert far.transport is not None
        self.sides.add(far)
        near.other, far.other = far, near
        far.transport.write(near.early)

    def cut(self) -> None:
        for side in list(self.sides):
            assert side.transport is not None
            transport: Any = side.transport
            transport.abortConnection()


class FaultCase(PostgresTestCase):
    """Calls during a fault."""

    # Longer than a busy machine stands still.
    registry_timeout = 6.0

    def hop(self) -> tuple[Hop, str]:
        """:return: a proxy to the server, and the URL of the database through it."""
        hop = Hop(self.database.url)
        listening: Any = self.successResultOf(
            TCP4ServerEndpoint(REACTOR, 0, interface="127.0.0.1").listen(hop)
        )
        self.addCleanup(listening.stopListening)
        self.addCleanup(hop.cut)
        where = f"127.0.0.1:{listening.getHost().port}"
        return hop, self.database.server.url_of(self.database.name, where)

    async def add_first(self, registry: Any) -> None:
        await add_workspace(registry, FIRST, url="http://a", digest=token_hash("token"))

    async def noticed(self, registry: Any) -> None:
        """Return when *registry* is no longer `watching`, which must happen within 1 s."""
        deadline = REACTOR.seconds() + 1 + LATE
        while registry.watching:
            self.assertLess(REACTOR.seconds(), deadline)
            await pause(0.01)

    async def outcomes(self, calls: Sequence[Awaitable[Any]], within: float) -> set[object]:
        """:return: the outcomes of the calls: ``found``, ``none`` or `RegistryUnavailable`."""
        begin = REACTOR.seconds()

        async def outcome(call: Awaitable[Any]) -> object:
            try:
                return "none" if await call is None else "found"
            except RegistryUnavailable:
                return RegistryUnavailable

        found = await gatherResults([begun(outcome(call)) for call in calls])
        self.assertLess(REACTOR.seconds() - begin, within)
        return set(found)
