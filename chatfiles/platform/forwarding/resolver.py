"""
Finds a workspace's URL and secret by its id (reference/resolution, "Resolution table").
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol
from uuid import UUID

from twisted.logger import Logger

from chatfiles.errors import ChatfilesError, NotDeliverable, Unavailable
from chatfiles.model import Workspace, new_secret
from chatfiles.platform import error_texts
from chatfiles.platform.forwarding.target import WorkspaceAddress
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.platform.upstream.channels import ChannelURL, WorkspacePlace
from chatfiles.rules.address_policy import AddressPolicy
from chatfiles.rules.urls import WorkspaceURL, parse_workspace_url

__all__ = ["Resolver"]

#: Seconds within which a workspace that must register is expected to do so.
REGISTER_AGAIN = 30

#: URLs whose validation result is cached: it depends on the URL only.
_URLS = 4096

_log = Logger()


class Connections(Protocol):
    """Has the connections that workspaces have made."""

    def has(self, workspace_id: UUID, /) -> bool:
        """:return: whether the workspace has a connection to this node."""


class Resolver:
    """
    Finds the URL and the secret of workspaces.

    :param registry: stores the workspaces.
    :param policy: decides which addresses a URL may name.
    :param connections: those that workspaces have made; ``None`` if they cannot.
    :param make_secret: returns a new inbound secret, for a workspace that has none.
    """

    def __init__(
        self,
        registry: IWorkspaceRegistry,
        policy: AddressPolicy,
        connections: Connections | None = None,
        make_secret: Callable[[], str] = new_secret,
    ) -> None:
        self._registry = registry
        self._policy = policy
        self._connections = connections
        self._make_secret = make_secret
        self._judged = lru_cache(_URLS)(self._judge)

    async def resolve(self, workspace_id: UUID, operation: str) -> WorkspaceAddress:
        """
        :param operation: ``download`` or ``upload``, for the error texts.
        :return: the URL and the secret of the workspace.
        :raise ChatfilesError: the workspace cannot be called; the resolution table lists the
            errors.
        """
        workspace = await self._registry.workspace(workspace_id)
        if workspace is None:
            raise error_texts.no_workspace()
        place = self._place(workspace)
        if place is None:
            raise _without_url(workspace, operation)
        if not workspace.inbound_secret:
            raise await self._enrol(workspace_id, operation)
        return WorkspaceAddress(workspace_id, place, workspace.inbound_secret)

    def _place(self, workspace: Workspace) -> WorkspacePlace | None:
        """
        :return: where *workspace* is; ``None`` if it has neither a URL nor ever connected.
        :raise UpstreamFailed: its URL is not allowed.
        """
        if workspace.url:
            return self._judged(workspace.url)
        if self._connections is None or not workspace.connects:
            return None
        has_connected = workspace.channel_seen_at is not None
        if has_connected or self._connections.has(workspace.id):
            return ChannelURL(workspace.id)
        return None

    def address_of(self, workspace: Workspace) -> WorkspaceAddress | None:
        """:return: the address of *workspace*; ``None`` if `resolve` reports why it has none."""
        try:
            place = self._place(workspace)
        except ChatfilesError:
            return None
        if place is None or not workspace.inbound_secret:
            return None
        return WorkspaceAddress(workspace.id, place, workspace.inbound_secret)

    async def again(self, target: WorkspaceAddress) -> WorkspaceAddress | None:
        """
        Read the registry again, without any cache, after a workspace refused its secret.

        :param target: the address that was used.
        :return: the new address if the secret has changed, else ``None``.
        :raise ChatfilesError: the URL is not allowed, or the registry is unavailable.
        """
        fresh = await self._registry.fresh_workspace(target.workspace_id)
        if fresh is None or not fresh.inbound_secret or fresh.inbound_secret == target.secret:
            return None
        place = self._place(fresh)
        if place is None:
            return None
        return WorkspaceAddress(target.workspace_id, place, fresh.inbound_secret)

    def _judge(self, text: str) -> WorkspaceURL:
        try:
            url = parse_workspace_url(text)
        except ValueError as error:
            raise error_texts.url_not_allowed(str(error)) from None
        refusal = self._policy.refusal(url.address) if url.address is not None else None
        if refusal is not None:
            raise error_texts.url_not_allowed(refusal)
        return url

    async def _enrol(self, workspace_id: UUID, operation: str) -> ChatfilesError:
        """
        Store a new secret, which the workspace receives with its next registration or heartbeat.

        :return: the error for the client.
        """
        try:
            await self._registry.ensure_secret(workspace_id, self._make_secret())
        except ChatfilesError:
            return Unavailable(
                f"workspace not yet enrolled in v2 {operation} (RFC #2312)",
                code="workspace_not_enrolled",
                retry_after=REGISTER_AGAIN,
            )
        _log.info("minted an inbound secret for {workspace}", workspace=workspace_id)
        return Unavailable(
            "workspace re-registering — please retry in 30 seconds",
            code="workspace_re_registering",
            retry_after=REGISTER_AGAIN,
            detail=(
                "The workspace had no inbound secret for file transfers (RFC #2312); one has been "
                "minted, and the workspace receives it with its next registration or heartbeat."
            ),
        )


def _without_url(workspace: Workspace, operation: str) -> ChatfilesError:
    if workspace.delivery_mode == "push":
        return Unavailable(
            "workspace url not registered yet",
            code="workspace_url_missing",
            retry_after=REGISTER_AGAIN,
        )
    return NotDeliverable(
        f"workspace has no callback URL — {operation} requires push-mode + a public URL"
    )
