"""
What the tests of parked connections share: a node whose network is in memory.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import ChatfilesError
from chatfiles.platform.channel.channels import Channels
from chatfiles.platform.channel.connection_search import Search
from chatfiles.platform.channel.node import Node
from chatfiles.platform.channel.parked_connection import ParkedConnection
from chatfiles.platform.registry.cache import CachedRegistry
from chatfiles.platform.upstream.connection import WorkspaceConnection
from chatfiles.testing import MemoryRegistry
from tests.contract.registry_case import FIRST, add_workspace, begun
from tests.platform.upstream.upstream_case import Wire

HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKEN, NODE, OTHER_NODE = UUID(int=7), UUID(int=0xA), UUID(int=0xB)
CONNECT_TIMEOUT = 5.0


class ChannelCase(SynchronousTestCase):
    """
    A node.

    :ivar relayed: the URLs of other nodes that were asked, and the results to give.
    """

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.registry = MemoryRegistry(now=self.now)
        self.cache = CachedRegistry(self.registry, self.reactor)
        self.get(self.cache.start())
        self.get(add_workspace(self.registry, FIRST, delivery_mode="poll"))
        self.relayed: list[tuple[str, Deferred[WorkspaceConnection]]] = []
        self.node = Node(self.cache, self.reactor, NODE, "http://a:1", self.relay)
        self.channels = Channels(
            self.reactor,
            lambda low, _high: low,
            CONNECT_TIMEOUT,
            partial(Search, self.cache, self.node, self.reactor, CONNECT_TIMEOUT),
            self.node.opened,
            self.node.closed,
        )
        self.node.start()
        self.reactor.advance(0)

    def now(self) -> datetime:
        """:return: the time of the registry."""
        return START + timedelta(seconds=self.reactor.seconds())

    def get(self, awaitable: Any) -> Any:
        """:return: the result of a call."""
        return self.successResultOf(begun(awaitable))

    def relay(self, url: str, _workspace_id: UUID) -> Deferred[WorkspaceConnection]:
        """Record that another node is asked."""
        result: Deferred[WorkspaceConnection] = Deferred()
        self.relayed.append((url, result))
        return result

    def park(self, workspace_id: UUID = FIRST, source: str = "192.0.2.1") -> Wire:
        """:return: the transport of a new connection."""
        connection = self.channels.new_connection(workspace_id, TOKEN, source)
        wire = Wire(self.reactor, connection)
        self.turn()
        return wire

    def turn(self) -> None:
        """Let everything happen that is due now."""
        for _ in range(5):
            self.reactor.advance(0)

    def advance(self, seconds: float) -> None:
        """Let time pass, in small steps."""
        for _ in range(int(seconds * 4)):
            self.reactor.advance(0.25)
        self.turn()

    def connect(self, within: float = 25.0) -> Deferred[WorkspaceConnection]:
        """:return: the result of a request for a connection."""
        result = self.channels.connect(FIRST, within)
        self.turn()
        return result

    def taken(self) -> ParkedConnection:
        """:return: an idle connection, which a request has taken."""
        found = self.channels.take(FIRST)
        assert isinstance(found, ParkedConnection)
        return found

    def is_of(self, result: Deferred[WorkspaceConnection], wire: Wire) -> ParkedConnection:
        """:return: the connection, which is that of *wire*."""
        found = self.successResultOf(result)
        self.assertIs(found, wire.protocol)
        assert isinstance(found, ParkedConnection)
        return found

    def fails(self, result: Deferred[WorkspaceConnection], code: str) -> ChatfilesError:
        """:return: the error of *result*, which has *code*."""
        error = self.failureResultOf(result, ChatfilesError).value
        assert isinstance(error, ChatfilesError)
        self.assertEqual(error.code, code)
        return error
