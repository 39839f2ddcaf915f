"""
This node of the platform, as the registry knows it, and what it hears of the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from chatfiles.errors import ChatfilesError, UpstreamFailed
from chatfiles.model import ChannelPlace
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.platform.upstream.connection import WorkspaceConnection

__all__ = ["Node"]

#: Seconds between two reports that the node is alive, and between two attempts to record a channel.
INTERVAL, RETRY_DELAY = 10.0, 1.0

_NOT_REACHED: Final = (
    "another node shares the database, and this one has no --node-url: workspaces that connect to "
    "one of them are not reached through the other"
)

_log = Logger()

#: Makes a connection through the node with this URL to a workspace.
Relay = Callable[[str, UUID], Awaitable[WorkspaceConnection]]


async def _no_relay(_url: str, _workspace_id: UUID) -> WorkspaceConnection:
    raise UpstreamFailed


class Node:
    """
    Keeps the rows of this node in the registry: that it is alive, and which workspaces are
    connected to it.

    :param registry: has the rows.
    :param clock: for timers.
    :param node_id: the id of this node.
    :param url: where other nodes reach it; ``None`` if they do not.
    :param relay: makes a connection through another node.
    :ivar others: number of other nodes that were alive at the last report.
    """

    def __init__(
        self,
        registry: IWorkspaceRegistry,
        clock: IReactorTime,
        node_id: UUID,
        url: str | None = None,
        relay: Relay = _no_relay,
    ) -> None:
        self.node_id = node_id
        self.url = url
        self.others = 0
        self._registry = registry
        self._clock = clock
        self._relay = relay
        self._loop = LoopingCall(self._report)
        self._loop.clock = clock
        self._is_known = self._stopped = False
        self._known: Deferred[None] = Deferred()
        self._connected: dict[UUID, bool] = {}  # what the registry should say
        self._recorded: set[UUID] = set()  # what it says
        self._recording: dict[UUID, Deferred[None]] = {}
        self._hearing: dict[UUID, list[Deferred[None]]] = {}
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin to report."""
        self._unsubscribe = self._registry.subscribe(self._changed)
        self._loop.start(INTERVAL)

    async def stop(self) -> None:
        """Report no more, and tell the registry so."""
        self._stopped = True
        self._unsubscribe()
        if self._loop.running:
            self._loop.stop()
        for recording in list(self._recording.values()):
            recording.cancel()
        if self._is_known:
            try:
                await self._registry.leave_node(self.node_id)
            except ChatfilesError:
                _log.debug("the registry could not be told that this node stops")

    @property
    def warnings(self) -> Sequence[str]:
        """What is wrong, for operators."""
        return () if self.url is not None or not self.others else (_NOT_REACHED,)

    # -- that it is alive

    def _report(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._told())

    async def _told(self) -> None:
        try:
            if not self._is_known:
                await self._registry.enter_node(self.node_id, self.url)
                self._is_known = True
                self._known.callback(None)
            self.others = await self._registry.touch_node(self.node_id, self.url)
        except ChatfilesError:
            pass  # the registry logs its outages

    # -- which workspaces are connected

    def opened(self, workspace_id: UUID) -> None:
        """A workspace has its first connection here."""
        self._record(workspace_id, connected=True)

    def closed(self, workspace_id: UUID) -> None:
        """The last connection of a workspace here is gone."""
        self._record(workspace_id, connected=False)

    def _record(self, workspace_id: UUID, *, connected: bool) -> None:
        self._connected[workspace_id] = connected
        if workspace_id not in self._recording and not self._stopped:
            recording = Deferred.fromCoroutine(self._recorded_all(workspace_id))
            if not recording.called:
                self._recording[workspace_id] = recording
            recording.addErrback(lambda _: None)

    async def _recorded_all(self, workspace_id: UUID) -> None:
        try:
            await self._enter()
            while self._connected[workspace_id] is not (workspace_id in self._recorded):
                await self._record_once(workspace_id)
        finally:
            self._recording.pop(workspace_id, None)
            if not self._connected[workspace_id]:
                del self._connected[workspace_id]

    async def _enter(self) -> None:
        if not self._is_known:
            known: Deferred[None] = Deferred()
            self._known.chainDeferred(known)
            await known

    async def _record_once(self, workspace_id: UUID) -> None:
        registry = self._registry
        try:
            if self._connected[workspace_id]:
                await registry.open_channel(workspace_id, self.node_id)
                self._recorded.add(workspace_id)
            else:
                await registry.close_channel(workspace_id, self.node_id)
                self._recorded.discard(workspace_id)
        except ChatfilesError:
            await deferLater(self._clock, RETRY_DELAY)

    # -- other nodes (OtherNodes)

    async def connect(self, place: ChannelPlace, workspace_id: UUID) -> WorkspaceConnection:
        """See `chatfiles.platform.channel.connection_search.OtherNodes`."""
        if place.url is None:
            raise UpstreamFailed
        return await self._relay(place.url, workspace_id)

    def changed(self, workspace_id: UUID) -> Deferred[None]:
        """See `chatfiles.platform.channel.connection_search.OtherNodes`."""
        hearing = self._hearing.setdefault(workspace_id, [])

        def forget(waiting: Deferred[None]) -> None:
            hearing.remove(waiting)
            if not hearing and self._hearing.get(workspace_id) is hearing:
                del self._hearing[workspace_id]

        waiting: Deferred[None] = Deferred(forget)
        hearing.append(waiting)
        return waiting

    def _changed(self, workspace_id: UUID | None) -> None:
        """Something of one workspace, or of any, has changed."""
        ids = list(self._hearing) if workspace_id is None else [workspace_id]
        for each in ids:
            for waiting in self._hearing.pop(each, ()):
                waiting.callback(None)
