"""
Looks for a connection to a workspace when none is idle at this node: at other nodes, and for as
long as there may be one soon.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as NotInTime
from twisted.internet.interfaces import IReactorTime

from chatfiles.errors import ChatfilesError, UpstreamFailed
from chatfiles.model import ChannelPlace, ChannelPlaces
from chatfiles.platform.error_texts import workspace_busy, workspace_offline
from chatfiles.platform.registry.interface import NODE_ALIVE, IWorkspaceRegistry
from chatfiles.platform.upstream.connection import WorkspaceConnection

__all__ = ["OtherNodes", "Search"]

#: Seconds after which a node that has not responded may be a dead one.
LONG: Final = 2.0


class OtherNodes(Protocol):
    """
    The way to the other nodes.

    :ivar node_id: the id of this node.
    """

    node_id: UUID

    def connect(self, place: ChannelPlace, workspace_id: UUID, /) -> Awaitable[WorkspaceConnection]:
        """
        :return: a connection of the workspace to another node, through that node.
        :raise UpstreamFailed: there is none through that node.
        :raise chatfiles.errors.Unavailable: all are busy.
        """

    def changed(self, workspace_id: UUID, /) -> Deferred[None]:
        """:return: fires when it may have changed where the workspace is connected."""


class Search:
    """
    One search.

    :param registry: knows where workspaces are connected.
    :param nodes: the way to the other nodes.
    :param clock: for timers.
    :param timeout: seconds for which a workspace is waited for after it was connected.
    :param workspace_id: the workspace.
    :param is_here: returns whether the workspace has connections here.  They are busy.
    :ivar error: see `chatfiles.platform.channel.waiting_request.Elsewhere`.
    """

    def __init__(
        self,
        registry: IWorkspaceRegistry,
        nodes: OtherNodes,
        clock: IReactorTime,
        timeout: float,
        workspace_id: UUID,
        is_here: Callable[[], bool],
    ) -> None:
        self.error: ChatfilesError = workspace_busy()
        self._registry = registry
        self._nodes = nodes
        self._clock = clock
        self._timeout = timeout
        self._id = workspace_id
        self._is_here = is_here
        self._had_lost = False

    def start(self) -> Deferred[WorkspaceConnection]:
        """See `chatfiles.platform.channel.waiting_request.Elsewhere`."""
        return Deferred.fromCoroutine(self._run())

    async def _run(self) -> WorkspaceConnection:
        places = await self._registry.channel_places(self._id)
        while True:
            changed = self._nodes.changed(self._id)
            try:
                found = await self._ask_nodes(places)
                if found is not None:
                    return found
                await self._wait(changed)
            finally:
                changed.addErrback(lambda _: None)
                changed.cancel()
            places = await self._registry.channel_places(self._id)

    async def _ask_nodes(self, places: ChannelPlaces) -> WorkspaceConnection | None:
        """:return: a connection through one of the nodes; ``None`` if there is none."""
        nodes = [place for place in places.nodes if self._may_ask(place)]
        for number, place in enumerate(nodes):
            try:
                return await self._ask(place, len(nodes) - number)
            except (UpstreamFailed, NotInTime):  # it has just died, or the workspace has left it
                self._had_lost = True
        return None

    def _may_ask(self, place: ChannelPlace) -> bool:
        is_other = place.node_id != self._nodes.node_id
        return is_other and place.url is not None and place.silent <= NODE_ALIVE

    async def _ask(self, place: ChannelPlace, left: int) -> WorkspaceConnection:
        """
        Ask a node.  One that has just disappeared must not use the time of the others.

        :param left: number of nodes that can be asked.  The last one has all the rest of the time.
        """
        began = self._clock.seconds()
        asking = Deferred.fromCoroutine(self._connect(place))
        if left > 1:
            asking.addTimeout(self._timeout / left, self._clock)
        try:
            return await asking
        finally:
            if self._clock.seconds() - began >= LONG:
                Deferred.fromCoroutine(self._look_again())

    async def _connect(self, place: ChannelPlace) -> WorkspaceConnection:
        return await self._nodes.connect(place, self._id)

    async def _look_again(self) -> None:
        """Remember for the next request how long each node has been silent."""
        with suppress(ChatfilesError):
            await self._registry.fresh_channel_places(self._id)

    async def _wait(self, changed: Deferred[None]) -> None:
        """
        Wait for a change, as long as the workspace is or was just connected.

        :raise ChatfilesError: it is not.
        """
        if self._is_here():
            self.error = workspace_busy()
            await changed
            return
        places = await self._registry.fresh_channel_places(self._id)
        self.error = workspace_offline(places.seen_at, self._elsewhere(places))
        left = self._timeout
        if not self._had_lost:
            left -= self._timeout if places.unseen is None else places.unseen
        try:
            await changed.addTimeout(max(0.0, left), self._clock)
        except NotInTime:
            raise self.error from None

    def _elsewhere(self, places: ChannelPlaces) -> bool:
        """:return: whether the workspace is connected to a node that this one cannot reach."""
        return any(
            place.url is None and place.node_id != self._nodes.node_id
            for place in places.nodes
            if place.silent <= NODE_ALIVE
        )
