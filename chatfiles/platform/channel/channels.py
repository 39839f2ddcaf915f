"""
The connections that workspaces have made to this node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final
from uuid import UUID

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.defer import TimeoutError as NotInTime
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from chatfiles.platform.channel.health import HealthCheck
from chatfiles.platform.channel.idle_connections import ConnectionLine
from chatfiles.platform.channel.liveness import Liveness
from chatfiles.platform.channel.parked_connection import ParkedConnection
from chatfiles.platform.channel.waiting_request import Elsewhere, NewSearch, Nowhere, Waiter
from chatfiles.platform.upstream.connection import WorkspaceConnection
from chatfiles.streams.equal_timeouts import EqualTimeouts
from chatfiles.streams.memory_budget import MemoryBudget

__all__ = ["MOST_PARKED", "Channels"]

#: The most idle connections of a workspace to one node.
MOST_PARKED: Final = 16
#: Seconds after which an idle connection is closed; its workspace makes another.
MOST_AGE: Final = 24 * 3600.0
#: Seconds for a response to ``/health``: of an idle connection, and of one that is needed now.
PATIENCE, SHORT_PATIENCE = 10.0, 3.0
#: Seconds for which a request waits for a connection here before other nodes are asked.
MOMENT: Final = 0.05

_log = Logger()


class WorkspaceChannel(ConnectionLine[ParkedConnection]):
    """
    The connections of one workspace.

    :param channels: has those of all.
    :param workspace_id: the workspace.
    :ivar connections: all of them, busy ones too.
    """

    def __init__(self, channels: Channels, workspace_id: UUID) -> None:
        super().__init__()
        self._channels = channels
        self.workspace_id = workspace_id
        self.has_two_sources = False

    @property
    def unused(self) -> int:
        """Number of connections that serve no request of a client."""
        return sum(each.usable or each.checking for each in self.connections)

    def check(self, connection: ParkedConnection, failed: Callable[[], object]) -> None:
        """See `chatfiles.platform.channel.waiting_request.Here`."""
        HealthCheck(connection, self._channels.short_timeouts, failed).start()

    def leave(self, waiter: Waiter) -> None:
        """See `chatfiles.platform.channel.waiting_request.Here`."""
        super().leave(waiter)
        self._channels.forget_unneeded(self)

    def add(self, connection: ParkedConnection) -> None:
        """A connection was made."""
        sources = {each.source for each in self.connections}
        super().add(connection)
        if sources and connection.source not in sources and not self.has_two_sources:
            self.has_two_sources = True
            _log.warn(
                "workspace {workspace} connects from two sources: {sources}",
                workspace=self.workspace_id,
                sources=", ".join(sorted({*sources, connection.source})),
            )


class Channels:
    """
    Holds the parked connections of all workspaces, gives them to requests, and keeps them alive.

    :param clock: runs timers.
    :param uniform: returns a random number between two.
    :param connect_timeout: seconds for which a request waits for a connection.
    :param search: makes a search for a connection, if none is idle here.
    :param opened: called with the id of each workspace that has its first connection here.
    :param closed: called with the id of each workspace whose last connection here is gone.
    :param kept: returns an idle connection through another node, if there is one.
    :ivar open: number of connections.
    :ivar draining: whether no connection is parked any more.
    """

    def __init__(
        self,
        clock: IReactorTime,
        uniform: Callable[[float, float], float],
        connect_timeout: float,
        search: NewSearch,
        opened: Callable[[UUID], object] = lambda _: None,
        closed: Callable[[UUID], object] = lambda _: None,
        kept: Callable[[UUID], WorkspaceConnection | None] = lambda _: None,
    ) -> None:
        self.open = 0
        self.draining = False
        self.short_timeouts = EqualTimeouts(clock, SHORT_PATIENCE)
        self._clock = clock
        self._moments = EqualTimeouts(clock, MOMENT)
        self._waits = EqualTimeouts(clock, max(connect_timeout - MOMENT, MOMENT))
        self._search = search
        self._opened, self._closed = opened, closed
        self._kept = kept
        self._budget = MemoryBudget()
        self._timeouts = EqualTimeouts(clock, PATIENCE)
        self._liveness = Liveness(clock, uniform, self._ask)
        self._by_workspace: dict[UUID, WorkspaceChannel] = {}
        self._seen: set[UUID] = set()
        self._finished: Deferred[None] | None = None

    # -- what there is

    def __iter__(self) -> Iterator[WorkspaceChannel]:
        """:return: the connections of each workspace."""
        return iter(list(self._by_workspace.values()))

    def counts(self) -> tuple[int, int]:
        """:return: how many connections serve no request, and how many there are in all."""
        idle = sum(channel.unused for channel in self._by_workspace.values())
        return idle, self.open

    def has(self, workspace_id: UUID) -> bool:
        """:return: whether the workspace has a connection here, idle or busy."""
        channel = self._by_workspace.get(workspace_id)
        return channel is not None and bool(channel.connections)

    def has_connected(self, workspace_id: UUID) -> bool:
        """:return: whether the workspace has connected to this process, also if it has left."""
        return workspace_id in self._seen

    def has_room(self, workspace_id: UUID) -> bool:
        """:return: whether the workspace may park one more connection here."""
        channel = self._by_workspace.get(workspace_id)
        return channel is None or channel.unused < MOST_PARKED

    # -- a connection

    def new_connection(self, workspace_id: UUID, token_id: UUID, source: str) -> ParkedConnection:
        """
        :param workspace_id: the workspace that makes it.
        :param token_id: its token.
        :param source: the address of the peer.
        :return: the protocol of a new connection.
        """
        now = self._clock.seconds()
        return ParkedConnection(self, self._budget, workspace_id, token_id, source, now)

    def parked(self, connection: ParkedConnection) -> None:
        """See `chatfiles.platform.channel.parked_connection.Holder`."""
        channel = self._channel(connection.workspace_id)
        is_first = not channel.connections
        self._seen.add(connection.workspace_id)
        channel.add(connection)
        connection.retired = self.draining  # it was accepted before
        self._liveness.watch(connection)
        _log.debug("channel parked for {workspace} from {source}", **_named(connection))
        if is_first:
            self._opened(connection.workspace_id)
        self._offer_soon(connection)

    def put(self, connection: ParkedConnection) -> None:
        """See `Keeper`: a response is complete."""
        connection.answered_at, connection.checking = self._clock.seconds(), False
        is_old = connection.answered_at - connection.born > MOST_AGE
        if connection.retired or self.draining or is_old:
            connection.disconnect()
            return
        channel = self._channel(connection.workspace_id)
        if not channel.keep(connection):
            self._offer_soon(connection)

    def drop(self, connection: ParkedConnection) -> None:
        """See `Keeper`: a connection is lost."""
        channel = self._channel(connection.workspace_id)
        channel.remove(connection)
        _log.debug("channel closed for {workspace} from {source}", **_named(connection))
        if not channel.connections:
            self._closed(connection.workspace_id)
        self.forget_unneeded(channel)
        self._finish_if_empty()

    def _offer_soon(self, connection: ParkedConnection) -> None:
        # The connection is not yet ready for the next request.
        channel = self._channel(connection.workspace_id)
        self._clock.callLater(0, channel.offer, connection)

    def _channel(self, workspace_id: UUID) -> WorkspaceChannel:
        channel = self._by_workspace.get(workspace_id)
        if channel is None:
            channel = self._by_workspace[workspace_id] = WorkspaceChannel(self, workspace_id)
        return channel

    def forget_unneeded(self, channel: WorkspaceChannel) -> None:
        """Forget the workspace of *channel*, if nothing is left of it."""
        if not channel.is_needed:
            self._by_workspace.pop(channel.workspace_id, None)

    # -- for requests (ChannelSource)

    def take(self, workspace_id: UUID) -> WorkspaceConnection | None:
        """See `ChannelSource`."""
        channel = self._by_workspace.get(workspace_id)
        found = None if channel is None else channel.take()
        return self._kept(workspace_id) if found is None else found

    def connect(self, workspace_id: UUID, within: float) -> Deferred[WorkspaceConnection]:
        """See `ChannelSource`."""
        channel = self._channel(workspace_id)
        search = partial(self._search, workspace_id, partial(self.has, workspace_id))
        return self._waiter(channel, within, search).start()

    def _waiter(
        self, channel: WorkspaceChannel, within: float, elsewhere: Callable[[], Elsewhere]
    ) -> Waiter:
        return Waiter(channel, self._clock, within, self._moments, self._waits, elsewhere)

    async def connect_here(self, workspace_id: UUID, within: float) -> ParkedConnection:
        """As `connect`, but only to this node.  The workspace has connections here."""
        channel = self._channel(workspace_id)
        found = await self._waiter(channel, within, Nowhere).start()
        assert isinstance(found, ParkedConnection)
        return found

    # -- their life

    def _ask(self, connection: ParkedConnection) -> None:
        channel = self._channel(connection.workspace_id)
        if not channel.withdraw(connection):
            return  # it is about to be used
        if self._clock.seconds() - connection.born > MOST_AGE:
            connection.disconnect()
        else:
            HealthCheck(connection, self._timeouts).start()

    def drain(self) -> None:
        """Close all idle connections, and park no more."""
        self.draining = True
        for channel in list(self._by_workspace.values()):
            channel.retire(channel.connections)

    def finished(self, seconds: float) -> Deferred[Any]:
        """
        Wait for the ends of all requests, those of other nodes too.

        :param seconds: how long at most.
        :return: fires when no connection is left, or the time is over.  `drain` was called.
        """
        finished = self._finished = Deferred()
        finished.addTimeout(seconds, self._clock)
        finished.addErrback(lambda failure: failure.trap(NotInTime) and None)
        self._finish_if_empty()
        return finished

    def _finish_if_empty(self) -> None:
        if self._finished is not None and not self._finished.called and not self.open:
            self._finished.callback(None)

    def close(self) -> Deferred[Any]:
        """
        Close all connections.

        :return: fires when they are closed.
        """
        self.draining = True
        self._liveness.stop()
        ends = [
            connection.disconnect()
            for channel in list(self._by_workspace.values())
            for connection in list(channel.connections)
        ]
        return gatherResults(ends).addCallback(self._all_closed)

    def _all_closed(self, _: object) -> None:
        self._timeouts.stop()
        self._waits.stop()
        self._moments.stop()
        self.short_timeouts.stop()


def _named(connection: ParkedConnection) -> dict[str, object]:
    return {"workspace": connection.workspace_id, "source": connection.source}
