"""
The connections that workspaces have made to this node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final
from uuid import UUID

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.defer import TimeoutError as NotInTime
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from chatfiles.platform.channel.health import HealthCheck
from chatfiles.platform.channel.liveness import Liveness
from chatfiles.platform.channel.parked import ParkedConnection
from chatfiles.platform.channel.waiter import Elsewhere, Nowhere, Waiter
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

#: Takes the id of a workspace, and returns whether it has connections here; see `Waiter`.
NewSearch = Callable[[UUID, Callable[[], bool]], Elsewhere]


class WorkspaceChannel:
    """
    The connections of one workspace.

    :param channels: has those of all.
    :param workspace_id: the workspace.
    :ivar connections: all of them, busy ones too.
    """

    def __init__(self, channels: Channels, workspace_id: UUID) -> None:
        self._channels = channels
        self.workspace_id = workspace_id
        self.connections: dict[ParkedConnection, None] = {}
        self.has_two_sources = False
        self._idle: list[ParkedConnection] = []  # the one that responded last is the last
        self._waiting: dict[Waiter, None] = {}  # in the order in which they came

    @property
    def is_needed(self) -> bool:
        """Whether there are connections, or requests that wait for one."""
        return bool(self.connections or self._waiting)

    @property
    def has_connections(self) -> bool:
        """Whether there are any, idle or busy."""
        return bool(self.connections)

    @property
    def unused(self) -> int:
        """Number of connections that serve no request of a client."""
        return sum(each.usable or each.checking for each in self.connections)

    @property
    def has_idle(self) -> bool:
        """Whether an idle connection can be taken."""
        while self._idle and not self._idle[-1].usable:
            self._idle.pop()
        return bool(self._idle)

    # -- for a waiter

    def take(self) -> ParkedConnection | None:
        """See `chatfiles.platform.channel.waiter.Here`."""
        return self._idle.pop() if self.has_idle else None

    def check(self, connection: ParkedConnection, failed: Callable[[], object]) -> None:
        """See `chatfiles.platform.channel.waiter.Here`."""
        HealthCheck(connection, self._channels.short_timeouts, failed).start()

    def wait(self, waiter: Waiter) -> None:
        """See `chatfiles.platform.channel.waiter.Here`."""
        self._waiting[waiter] = None

    def leave(self, waiter: Waiter) -> None:
        """See `chatfiles.platform.channel.waiter.Here`."""
        self._waiting.pop(waiter, None)
        self._channels.forget_unneeded(self)

    # -- for the channels

    def add(self, connection: ParkedConnection) -> None:
        """A connection was made."""
        sources = {each.source for each in self.connections}
        self.connections[connection] = None
        if sources and connection.source not in sources and not self.has_two_sources:
            self.has_two_sources = True
            _log.warn(
                "workspace {workspace} connects from two sources: {sources}",
                workspace=self.workspace_id,
                sources=", ".join(sorted({*sources, connection.source})),
            )

    def offer(self, connection: ParkedConnection) -> None:
        """A connection has become idle: give it to whom it was meant for, or to who waits."""
        if not connection.usable:
            return
        if connection.retired:
            connection.disconnect()
            return
        claim, connection.claim = connection.claim, None
        if claim is not None and claim(connection):
            return
        for waiter in list(self._waiting):
            if waiter.offer(connection):
                return
        self._idle.append(connection)

    def keep(self, connection: ParkedConnection) -> bool:
        """:return: whether a connection that has become idle is kept, because nothing waits."""
        if self._waiting or connection.claim is not None:
            return False
        self._idle.append(connection)
        return True

    def withdraw(self, connection: ParkedConnection) -> bool:
        """:return: whether the connection was idle; it is not any more."""
        if connection not in self._idle:
            return False
        self._idle.remove(connection)
        return True

    def remove(self, connection: ParkedConnection) -> None:
        """A connection is lost."""
        self.withdraw(connection)
        self.connections.pop(connection, None)


class Channels:
    """
    Holds the parked connections of all workspaces, gives them to requests, and keeps them alive.

    :param clock: runs timers.
    :param uniform: returns a random number between two.
    :param connect_timeout: seconds for which a request waits for a connection.
    :param search: makes a search for a connection, if none is idle here.
    :param opened: called with the id of each workspace that has its first connection here.
    :param closed: called with the id of each workspace whose last connection here is gone.
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
    ) -> None:
        self.open = 0
        self.draining = False
        self.short_timeouts = EqualTimeouts(clock, SHORT_PATIENCE)
        self._clock = clock
        self._moments = EqualTimeouts(clock, MOMENT)
        self._waits = EqualTimeouts(clock, max(connect_timeout - MOMENT, MOMENT))
        self._search = search
        self._opened, self._closed = opened, closed
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
        """See `chatfiles.platform.channel.parked.Holder`."""
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

    def take(self, workspace_id: UUID) -> ParkedConnection | None:
        """See `ChannelSource`."""
        channel = self._by_workspace.get(workspace_id)
        return None if channel is None else channel.take()

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

    def retire(self, connections: Iterable[ParkedConnection]) -> None:
        """Close connections: idle ones now, busy ones when their response is complete."""
        for connection in list(connections):
            connection.retired = True
            channel = self._channel(connection.workspace_id)
            if channel.withdraw(connection):
                connection.disconnect()

    def drain(self) -> None:
        """Close all idle connections, and park no more."""
        self.draining = True
        for channel in list(self._by_workspace.values()):
            self.retire(channel.connections)

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
