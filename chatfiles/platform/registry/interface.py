"""
The interface of a registry.  `tests.contract` tests every implementation with one suite.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from zope.interface import Attribute, Interface

from chatfiles.model import ChannelPlaces, LinkClock, Scope, Token, Workspace
from chatfiles.rules.link_keys import LinkKey

__all__ = ["NODE_ALIVE", "IWorkspaceRegistry"]

#: Seconds for which a node that was seen counts as alive.
NODE_ALIVE = 30

# zope.interface methods have no self.
# ruff: noqa: N805


class IWorkspaceRegistry(Interface):
    """
    Stores the workspaces, how to reach them, and the tokens that give access to them.

    Every method may be called on the reactor thread at any time, and never blocks it.  Every method
    fails with `chatfiles.errors.RegistryUnavailable` when the registry cannot be reached or is too
    slow; this never means that something does not exist.

    The tables may be shared with other programs, and have constraints of their own.  So a method
    that changes something may fail with `chatfiles.errors.ConstraintViolated`,
    `chatfiles.errors.Misconfigured` or `chatfiles.errors.BadRequest`; then it has changed nothing.

    "Now" is the time of the clock that the implementation was given.
    """

    watching: bool = Attribute(
        """
        Whether subscribers have been notified of every change up to now, and will be of the next.
        While it is false, cached values must not be used.  Once it is true again they may be,
        unless a notification has dropped them.
        """
    )

    def start() -> Awaitable[None]:
        """
        Open the registry and bring its schema up to date.  May be called again after it failed.
        Before `start`, and after `close`, every call fails with `RegistryUnavailable`.
        """

    def close() -> Awaitable[None]:
        """Finish the calls that are running, and release everything; idempotent."""

    def check() -> Awaitable[None]:
        """Succeed if the registry responds and has all tables and columns that look-ups read."""

    def subscribe(changed: Callable[[UUID | None], None]) -> Callable[[], None]:
        """
        Call *changed* on the reactor thread with the id of each workspace whose row or tokens have
        changed, or with ``None`` when any workspace, or the keys of links, may have changed.
        ``None`` also means that the registry can no longer see changes.  Subscribers are notified
        of a change made through this registry before the call that made it succeeds.  The times of
        the last use of a token and of the last heartbeat of a workspace are not notified.

        :return: a callable that ends the subscription.
        """

    def workspace(workspace_id: UUID) -> Awaitable[Workspace | None]:
        """
        :return: the workspace, or ``None`` if it does not exist or has been removed.  Its
            ``last_heartbeat_at`` may be older than the last heartbeat.
        """

    def fresh_workspace(workspace_id: UUID) -> Awaitable[Workspace | None]:
        """As `workspace`, without any cache."""

    def workspaces(*, limit: int, after: UUID | None = None) -> Awaitable[Sequence[Workspace]]:
        """
        :param limit: the greatest number of workspaces to return.
        :param after: the id of a workspace, which may have been removed: return only workspaces
            that come after it in the order.
        :return: the workspaces that are not removed, ordered by age (oldest first) and id.
        :raise chatfiles.errors.BadRequest: no workspace *after* has ever existed.
        """

    def create_workspace(
        workspace_id: UUID,
        *,
        name: str,
        url: str | None,
        delivery_mode: str | None,
        secret: str,
        digest: bytes,
        prefix: str,
        scopes: frozenset[Scope],
        token_name: str | None,
    ) -> Awaitable[Workspace]:
        """
        Add a workspace with status ``provisioning`` and its first token, in one transaction.  The
        last four arguments are those of `create_token`.

        :raise chatfiles.errors.Conflict: a row with this id exists, removed or not, or a token with
            this hash; nothing has been changed.
        """

    def register(
        workspace_id: UUID, *, url: str | None, delivery_mode: str | None, create_name: str | None
    ) -> Awaitable[Workspace | None]:
        """
        Record that the workspace is running: set its status to ``online`` unless it is ``paused``,
        its last heartbeat to now, and *url* and *delivery_mode* unless they are ``None``.  An empty
        *url* removes the stored one.

        :param create_name: the name of the row that is created if there is none; ``None`` creates
            no row.  A removed row is never restored.
        :return: the workspace, or ``None`` if it does not exist or has been removed.
        """

    def claim(
        workspace_id: UUID,
        *,
        url: str | None,
        delivery_mode: str | None,
        create_name: str,
        digest: bytes,
        prefix: str,
        scopes: frozenset[Scope],
        name: str | None,
    ) -> Awaitable[Workspace | None]:
        """
        `register` a workspace for which `has_live_token` is false, and add its own first token, in
        one transaction.
        The arguments are those of `register` and of `create_token`.

        :raise chatfiles.errors.Conflict: the workspace has a live token, or a token with this hash
            exists; nothing has been changed.
        :return: the workspace; ``None`` if it has been removed.
        """

    def ensure_secret(workspace_id: UUID, candidate: str) -> Awaitable[str | None]:
        """
        Store *candidate* as the inbound secret if the row has none (NULL or empty), atomically.

        :return: the secret of the row after this; ``None`` if there is no such workspace.
        """

    def rotate_secret(workspace_id: UUID, candidate: str, *, force: bool) -> Awaitable[bool]:
        """
        Store *candidate* as the next secret, in place of one that is pending.

        :param force: store it as the inbound secret at once; then no next secret is pending.
        :return: whether there is such a workspace.
        """

    def promote_secret(workspace_id: UUID, expected: str) -> Awaitable[Workspace | None]:
        """
        Make the next secret the inbound secret, if it is *expected*; this is atomic.

        :return: the workspace after this; ``None`` if it does not exist or has been removed.
        """

    def touch_workspaces(last_seen: Mapping[UUID, datetime]) -> Awaitable[None]:
        """
        Record the last heartbeats of workspaces in one batch.  Never sets a time back, and does not
        change removed workspaces.

        :param last_seen: workspace id → aware time; a thousand at most.
        """

    def remove_workspace(workspace_id: UUID) -> Awaitable[bool]:
        """
        Set the status to ``removed`` and revoke every token, in one transaction.

        :return: whether there was such a workspace.
        """

    def link_clock(workspace_id: UUID) -> Awaitable[LinkClock | None]:
        """
        :return: what a new link of the workspace needs, from the database and not from a cache:
            the clocks of two nodes may differ, and a link must not seem younger than a revocation
            at another node; ``None`` if there is no such workspace.
        """

    def revoke_links(workspace_id: UUID) -> Awaitable[bool]:
        """
        Revoke all signed links of a workspace that were issued before now or in this second: set
        its ``links_not_before`` to `LinkClock.issued` plus 1.

        :return: whether there is such a workspace.
        """

    def enter_node(node_id: UUID, url: str | None) -> Awaitable[None]:
        """
        Record that a node of the platform has started: no workspace is connected to it.

        :param url: where other nodes reach it; ``None`` if they do not.
        """

    def touch_node(node_id: UUID, url: str | None) -> Awaitable[int]:
        """
        Record that a node is alive, by the clock of the registry.  Nodes that have not been seen
        for a day are forgotten.

        :return: how many other nodes were seen within `NODE_ALIVE` seconds.
        """

    def leave_node(node_id: UUID) -> Awaitable[None]:
        """Record that a node has stopped."""

    def open_channel(workspace_id: UUID, node_id: UUID) -> Awaitable[bool]:
        """
        Record that a workspace is connected to a node, and that it is connected now.

        :return: whether there is such a workspace.
        """

    def close_channel(workspace_id: UUID, node_id: UUID) -> Awaitable[None]:
        """Record that a workspace is no longer connected to a node, and was until now."""

    def connected_workspaces() -> Awaitable[frozenset[UUID]]:
        """:return: all workspaces that are connected to a node that is alive."""

    def channel_places(workspace_id: UUID) -> Awaitable[ChannelPlaces]:
        """
        :return: where a workspace is connected.  The seconds in it may be older than the call.
        """

    def fresh_channel_places(workspace_id: UUID) -> Awaitable[ChannelPlaces]:
        """As `channel_places`, without any cache."""

    def token(digest: bytes) -> Awaitable[Token | None]:
        """
        :param digest: SHA-256 of the presented token.
        :return: the live token with this hash, or ``None``.  A token of a removed workspace is not
            live.
        """

    def token_by_id(token_id: UUID) -> Awaitable[Token | None]:
        """:return: the live token with this id, or ``None``."""

    def create_token(
        workspace_id: UUID,
        *,
        digest: bytes,
        prefix: str,
        scopes: frozenset[Scope],
        name: str | None,
        only_first: bool = False,
    ) -> Awaitable[Token | None]:
        """
        Add a token to a workspace.

        :param digest: SHA-256 of the token.
        :param prefix: the first characters of the token, by which a person recognizes it.
        :param scopes: the operations that the token allows.
        :param name: a name that the client chose for the token.
        :param only_first: the token is for the workspace itself, not for people: add it only if
            `has_live_token` is false; this is atomic.
        :raise chatfiles.errors.Conflict: a token with this hash exists, revoked or not.
        :return: the token; ``None`` if there is no such workspace, or if *only_first* prevented it.
        """

    def has_live_token(workspace_id: UUID) -> Awaitable[bool]:
        """
        :return: whether any token of the workspace is not revoked.  Where the tables of a third
            party distinguish the tokens of people, only the workspace's own tokens count.
        """

    def tokens(workspace_id: UUID) -> Awaitable[Sequence[Token]]:
        """:return: the live tokens of a workspace, oldest first."""

    def revoke_token(workspace_id: UUID, token_id: UUID) -> Awaitable[bool]:
        """:return: whether this workspace had this live token."""

    def touch_tokens(used: Mapping[UUID, datetime]) -> Awaitable[None]:
        """
        Record the last uses of tokens in one batch.  Never sets a time back.

        :param used: token id → aware time; a thousand at most.
        """

    def link_keys() -> Awaitable[Sequence[LinkKey]]:
        """:return: all keys of signed links, oldest first, those that have ended included."""

    def fresh_link_keys() -> Awaitable[Sequence[LinkKey]]:
        """As `link_keys`, without any cache."""

    def ensure_link_key(candidate: LinkKey) -> Awaitable[LinkKey]:
        """
        Store *candidate* if no key signs now; this is atomic.

        :return: the key that signs now.
        """

    def rotate_link_keys(successor: LinkKey) -> Awaitable[None]:
        """
        Store *successor*, and end the signing of all other keys.  They verify for as long as the
        longest link, and never longer than before.
        """

    def revoke_link_key(key_id: str) -> Awaitable[bool]:
        """
        End a key: from now on it neither signs nor verifies.  Its times become that of its
        creation, so that a later change by a clock that is behind cannot prolong them.

        :return: whether there is such a key, ended or not.
        """
