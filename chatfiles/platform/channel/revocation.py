"""
Closes the parked connections of workspaces whose token was revoked, or that were removed.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from chatfiles.errors import ChatfilesError
from chatfiles.model import Scope
from chatfiles.platform.channel.channels import Channels, WorkspaceChannel
from chatfiles.platform.registry.interface import IWorkspaceRegistry

__all__ = ["Revocation"]

_log = Logger()


class Revocation:
    """
    Looks at the connections of a workspace whenever something of it has changed.

    :param registry: tells what has changed, and knows the tokens.
    :param channels: has the connections.
    """

    def __init__(self, registry: IWorkspaceRegistry, channels: Channels) -> None:
        self._registry = registry
        self._channels = channels
        self._looking: set[UUID] = set()
        self._again: set[UUID] = set()
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin to look."""
        self._unsubscribe = self._registry.subscribe(self._changed)

    def stop(self) -> None:
        """Look no more."""
        self._unsubscribe()

    def _changed(self, workspace_id: UUID | None) -> None:
        for channel in self._channels:
            if workspace_id in (None, channel.workspace_id):
                self._look(channel)

    def _look(self, channel: WorkspaceChannel) -> None:
        workspace_id = channel.workspace_id
        if workspace_id in self._looking:
            self._again.add(workspace_id)
            return
        self._looking.add(workspace_id)
        looking = Deferred.fromCoroutine(self._check(channel))
        looking.addErrback(lambda failure: _log.failure("a revocation failed", failure))
        looking.addBoth(lambda _: self._looked(channel))

    def _looked(self, channel: WorkspaceChannel) -> None:
        self._looking.discard(channel.workspace_id)
        if channel.workspace_id in self._again:
            self._again.discard(channel.workspace_id)
            self._look(channel)

    async def _check(self, channel: WorkspaceChannel) -> None:
        try:
            workspace = await self._registry.workspace(channel.workspace_id)
            tokens = {connection.token_id for connection in channel.connections}
            live = {each for each in tokens if await self._is_live(each, channel.workspace_id)}
        except ChatfilesError:  # what is connected stays so while this is unknown
            return
        is_wanted = workspace is not None and workspace.connects
        channel.retire(
            each for each in channel.connections if not is_wanted or each.token_id not in live
        )

    async def _is_live(self, token_id: UUID, workspace_id: UUID) -> bool:
        token = await self._registry.token_by_id(token_id)
        return (
            token is not None and token.workspace_id == workspace_id and Scope.AGENT in token.scopes
        )
