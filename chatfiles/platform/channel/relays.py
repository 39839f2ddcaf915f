"""
Connections to workspaces that are connected to another node, through that node (reference/channel,
"Several nodes").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IPolicyForHTTPS

from chatfiles.errors import ChatfilesError, UpstreamFailed
from chatfiles.platform.channel.connection import ChannelConnection
from chatfiles.platform.channel.idle_connections import ConnectionLine
from chatfiles.platform.channel.relay_request import RelayRequest, relay_request
from chatfiles.platform.channel.waiting_request import Elsewhere, NewSearch, Waiter
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.platform.upstream.channels import RELAY
from chatfiles.platform.upstream.connection import Keeper, WorkspaceConnection
from chatfiles.platform.upstream.dialer import QuietFactory
from chatfiles.runtime.connection_problems import connection_problem
from chatfiles.streams.equal_timeouts import EqualTimeouts
from chatfiles.streams.memory_budget import MemoryBudget

__all__ = ["MOST_AGE", "QUIET", "Relays"]

#: Seconds after a response for which a connection is kept for the next request.  It is not longer
#: than the time within which the workspace must have responded for an upload.
QUIET: Final = 2.0
#: Seconds after which a connection is used no more, but at most this share of the connect timeout.
#: The other node then has it, or another one in its place, for its own clients, which wait for
#: longer.
MOST_AGE: Final = 3.0
_SHARE: Final = 0.6
#: The most connections of one workspace that are kept.
MOST_KEPT: Final = 16
#: Seconds for which a request waits for one of them before a node is asked for another one.
MOMENT: Final = 0.1
#: The most searches for more connections of a workspace, while there are some.
_SEARCHES: Final = 4
#: Seconds between two looks for those that are used no more.
_INTERVAL: Final = 0.25

_log = Logger()


class RelayedConnection(ChannelConnection):
    """A connection to a workspace through another node, which copies all bytes."""

    via = RELAY

    def __init__(
        self, relays: Relays, budget: MemoryBudget, workspace_id: UUID, now: float
    ) -> None:
        super().__init__(relays, budget, workspace_id, now)
        self._relays = relays

    def connectionMade(self) -> None:
        """The other node has accepted."""
        super().connectionMade()
        self._relays.made(self)


class RelayedLine(ConnectionLine[RelayedConnection]):
    """
    The connections to one workspace through other nodes.

    :param is_fresh: returns whether a connection is still used.
    :ivar turns: limits the searches for more of them.
    """

    def __init__(self, is_fresh: Callable[[RelayedConnection], bool]) -> None:
        super().__init__()
        self._is_fresh = is_fresh
        self.turns = DeferredSemaphore(_SEARCHES)

    def take(self) -> RelayedConnection | None:
        """See `chatfiles.platform.channel.waiting_request.Here`."""
        connection = super().take()
        if connection is None or self._is_fresh(connection):
            return connection
        connection.disconnect()
        return None

    def check(self, connection: RelayedConnection, failed: Callable[[], object]) -> None:
        """See `chatfiles.platform.channel.waiting_request.Here`: a new one is as soon there."""
        connection.disconnect()
        failed()

    def close_old(self) -> None:
        """Close the idle connections that are used no more."""
        for connection in list(self.connections):
            if not self._is_fresh(connection) and self.withdraw(connection):
                connection.disconnect()


class InTurn:
    """
    A search that begins when there are few others.  Under load most requests would soon give their
    search up, because a connection that is kept becomes idle, and each costs the other node time.

    :param turns: limits them.
    :param search: the search.
    """

    def __init__(self, turns: DeferredSemaphore, search: Elsewhere) -> None:
        self._turns = turns
        self._search = search

    @property
    def error(self) -> ChatfilesError:
        """See `Elsewhere`."""
        return self._search.error

    def start(self) -> Deferred[WorkspaceConnection]:
        """See `Elsewhere`."""
        return self._turns.run(self._search.start)


class Relays(Keeper):
    """
    Makes connections through other nodes, and keeps them for the next requests for a short while.

    :param reactor: connects, and runs timers.
    :param registry: has the secrets of workspaces, which nodes show each other, and notifies of
        changes.
    :param connect_timeout: seconds to connect to another node, and for which a request waits.
    :param tls: verifies nodes with ``https``.
    :ivar open: number of these connections.
    """

    def __init__(
        self,
        reactor: Any,
        registry: IWorkspaceRegistry,
        connect_timeout: float,
        tls: IPolicyForHTTPS,
    ) -> None:
        self.open = 0
        self._tls = tls
        self._problems: dict[str, str] = {}
        self._reactor = reactor
        self._registry = registry
        self._connect_timeout = connect_timeout
        self._most_age = min(MOST_AGE, connect_timeout * _SHARE)
        self._budget = MemoryBudget()
        self._moments = EqualTimeouts(reactor, MOMENT)
        self._waits = EqualTimeouts(reactor, connect_timeout)
        self._lines: dict[UUID, RelayedLine] = {}
        self._sweep: IDelayedCall | None = None
        self._draining = False
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin to close the connections of workspaces that have changed."""
        self._unsubscribe = self._registry.subscribe(self.retire)

    def drain(self) -> None:
        """Keep no connection any more."""
        self._draining = True
        self.retire(None)

    def stop(self) -> None:
        """Stop the timers; `drain` was called."""
        self._unsubscribe()
        self._moments.stop()
        self._waits.stop()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def counts(self) -> tuple[int, int]:
        """:return: how many are idle, and how many there are in all."""
        return sum(line.idle for line in self._lines.values()), self.open

    # -- for requests

    def take(self, workspace_id: UUID) -> WorkspaceConnection | None:
        """:return: an idle connection, which may have died since its last response."""
        line = self._lines.get(workspace_id)
        return None if line is None else line.take()

    def search(
        self, new_search: NewSearch, workspace_id: UUID, is_here: Callable[[], bool]
    ) -> Waiter:
        """
        :param new_search: makes a search at other nodes; for the rest see `NewSearch`.
        :return: waits for a connection that is kept, and for one that is found.
        """
        line = self._line(workspace_id)

        def search() -> Elsewhere:
            new = new_search(workspace_id, is_here)
            return InTurn(line.turns, new) if line.has_connections else new

        return Waiter(line, self._reactor, QUIET, self._moments, self._waits, search)

    async def connect(self, url: str, workspace_id: UUID) -> WorkspaceConnection:
        """
        :param url: of the other node: ``http://HOST:PORT``, with ``https``, or ``unix:PATH``.
        :param workspace_id: the workspace.
        :return: a new connection on which the workspace has just responded.
        :raise UpstreamFailed: there is none through that node.
        :raise chatfiles.errors.Unavailable: the workspace is busy there.
        """
        workspace = await self._registry.workspace(workspace_id)
        secret = workspace.inbound_secret if workspace is not None else None
        if not secret:
            raise UpstreamFailed
        now = self._reactor.seconds()
        connection = RelayedConnection(self, self._budget, workspace_id, now)
        asking = RelayRequest(connection, relay_request(url, workspace_id, secret))
        try:
            connecting = self._endpoint(url).connect(QuietFactory.forProtocol(lambda: asking))
            await _cancellable(connecting)
        except CancelledError:
            raise
        except Exception as error:
            self._note(url, connection_problem(error))
            raise UpstreamFailed from error
        try:
            found = await asking.result
        except UpstreamFailed as error:
            self._note(url, connection_problem(error.__cause__) if error.__cause__ else "")
            raise
        self._note(url, "")
        return found

    def retire(self, workspace_id: UUID | None) -> None:
        """
        Close connections: idle ones now, busy ones when their response is complete.

        :param workspace_id: those of this workspace; ``None`` for all.
        """
        for each in [*self._lines] if workspace_id is None else [workspace_id]:
            if each in self._lines:
                self._lines[each].retire(self._lines[each].connections)

    # -- for the connections (Keeper)

    def made(self, connection: RelayedConnection) -> None:
        """There is a new one."""
        connection.born = connection.answered_at = self._reactor.seconds()
        connection.retired = self._draining
        self._line(connection.workspace_id).add(connection)

    def put(self, connection: RelayedConnection) -> None:
        """The response is complete: keep the connection, unless the other node should have it."""
        connection.answered_at = self._reactor.seconds()
        line = self._line(connection.workspace_id)
        if connection.retired or not self._is_fresh(connection) or line.idle >= MOST_KEPT:
            connection.disconnect()
        elif not line.keep(connection):
            self._reactor.callLater(0, line.offer, connection)

    def drop(self, connection: RelayedConnection) -> None:
        """One is lost.  If the other node has closed it, the others may be dead, too."""
        line = self._line(connection.workspace_id)
        line.remove(connection)
        if not connection.is_closed:
            line.retire(line.connections)

    def _line(self, workspace_id: UUID) -> RelayedLine:
        if self._sweep is None:
            self._sweep = self._reactor.callLater(_INTERVAL, self._look)
        return self._lines.setdefault(workspace_id, RelayedLine(self._is_fresh))

    def _is_fresh(self, connection: RelayedConnection) -> bool:
        end = min(connection.answered_at + QUIET, connection.born + self._most_age)
        return bool(self._reactor.seconds() < end)

    def _look(self) -> None:
        """Close what is used no more, and forget workspaces without connections."""
        self._sweep = None
        for workspace_id, line in list(self._lines.items()):
            line.close_old()
            if not line.is_needed:
                del self._lines[workspace_id]
        if self._lines:
            self._sweep = self._reactor.callLater(_INTERVAL, self._look)

    def _endpoint(self, url: str) -> IStreamClientEndpoint:
        reactor, timeout = self._reactor, self._connect_timeout
        if url.startswith("unix:"):
            return UNIXClientEndpoint(reactor, url.removeprefix("unix:"), timeout)
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("ascii")
        assert parts.port is not None  # see `node_address.parse_url`
        port = parts.port
        endpoint = HostnameEndpoint(reactor, host, port, timeout)
        if parts.scheme != "https":
            return endpoint
        wrapped: IStreamClientEndpoint = wrapClientTLS(
            self._tls.creatorForNetloc(host, port), endpoint
        )
        return wrapped

    def _note(self, url: str, problem: str) -> None:
        """Log why a node is not reached, when that changes."""
        before = self._problems.pop(url, "")
        if problem:
            self._problems[url] = problem
            if problem != before:
                _log.warn("no relay through {url}: {problem}", url=url, problem=problem)


def _cancellable(connecting: Deferred[Any]) -> Deferred[Any]:
    """
    :param connecting: of an endpoint of Twisted.  If it is cancelled, it may fail as if, for
        example, there were no such host.
    :return: the same, but it fails with ``CancelledError`` if it is cancelled.
    """

    def cancel(result: Deferred[Any]) -> None:
        result.errback(Failure(CancelledError()))
        connecting.cancel()

    def end(found: Any) -> None:
        if not result.called:
            result.callback(found)  # a failure, too

    result: Deferred[Any] = Deferred(cancel)
    connecting.addBoth(end)
    return result
