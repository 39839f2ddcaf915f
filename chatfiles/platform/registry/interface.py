"""
The interface of a registry.  `tests.contract` runs one suite over all its implementers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from zope.interface import Attribute, Interface

from chatfiles.model import Scope, Token, Workspace

__all__ = ["IWorkspaceRegistry"]

# zope.interface methods have no self.
# ruff: noqa: N805


class IWorkspaceRegistry(Interface):
    """
    Which workspaces there are, how to reach them, and which tokens open them (CONTRACT 3).

    Every method may be called on the reactor thread at any time and never blocks it.  Every method
    fails with `chatfiles.errors.RegistryUnavailable` when the registry cannot be reached or is
    too slow; such a failure is never to be read as an absence.  Tables of others may have rules of
    their own: what changes anything may fail with `chatfiles.errors.ConstraintViolated`,
    `chatfiles.errors.Misconfigured` or `chatfiles.errors.BadRequest`, and has changed nothing then.
    "Now" is the injected clock.
    """

    watching: bool = Attribute(
        """
        Whether subscribers have heard of every change up to now, and will of the next.  What was
        kept may be used again when it has become true again, unless they were told meanwhile.
        """
    )

    def start() -> Awaitable[None]:
        """
        Open the registry and bring its schema up to date.  May be tried again after it failed.
        Before it, and after `close`, every call fails with `RegistryUnavailable`.
        """

    def close() -> Awaitable[None]:
        """Finish what is running and release everything; idempotent."""

    def check() -> Awaitable[None]:
        """Succeed if the registry answers, and has all that lookups read (for ``/ready``)."""

    def subscribe(changed: Callable[[UUID | None], None]) -> Callable[[], None]:
        """
        Call *changed* on the reactor thread with the id of each workspace whose row or tokens have
        changed, or ``None`` when anything may have, or when the registry can no longer tell.  A
        change made through this registry is told before the call that made it succeeds.  When a
        token was last used, and when a workspace was last heard of, is not told.

        :return: a callable that ends the subscription.
        """

    def workspace(workspace_id: UUID) -> Awaitable[Workspace | None]:
        """
        :return: the workspace, or ``None`` if there is none or it has been removed.  It may have
            been heard of since its ``last_heartbeat_at``.
        """

    def fresh_workspace(workspace_id: UUID) -> Awaitable[Workspace | None]:
        """As `workspace`, past every cache."""

    def workspaces(*, limit: int, after: UUID | None = None) -> Awaitable[Sequence[Workspace]]:
        """
        :param limit: how many at most.
        :param after: only those behind this one, removed or not.
        :return: those that are not removed, oldest first (then by id).
        :raise chatfiles.errors.BadRequest: *after* has never been there.
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
        Add a workspace with status ``provisioning``, and its first token: both or nothing, in one
        transaction.  The last four arguments are those of `create_token`.

        :raise chatfiles.errors.Conflict: a row with that id exists, removed or not, or a token of
            that hash; nothing has been changed.
        """

    def register(
        workspace_id: UUID, *, url: str | None, delivery_mode: str | None, create_name: str | None
    ) -> Awaitable[Workspace | None]:
        """
        Note that the workspace is up: status ``online``, last heartbeat now, and *url* and
        *delivery_mode* where they are not ``None`` (they keep their value where they are).

        :param create_name: when given, a missing row is created with this name; when ``None``, it
            is not.  A removed row is never brought back.
        :return: the workspace, or ``None`` if there is none (or it has been removed).
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
        `register` a workspace that has no live token, and add its first one: both or nothing, in
        one transaction.  The arguments are those of `register` and of `create_token`.

        :raise chatfiles.errors.Conflict: it has a live token, or a token of that hash exists;
            nothing has been changed.
        :return: the workspace; ``None`` if it has been removed.
        """

    def ensure_secret(workspace_id: UUID, candidate: str) -> Awaitable[str | None]:
        """
        Store *candidate* as the inbound secret if the row has none (NULL or empty), atomically.

        :return: the secret that the row has now; ``None`` if there is no such workspace.
        """

    def touch_workspaces(heard: Mapping[UUID, datetime]) -> Awaitable[None]:
        """
        Record when workspaces were last heard of, in one batch; never sets a time back, and leaves
        those alone that are removed.

        :param heard: workspace id → aware time; a thousand at most.
        """

    def remove_workspace(workspace_id: UUID) -> Awaitable[bool]:
        """
        Set status ``removed`` and revoke every token, in one transaction.

        :return: whether there was such a workspace.
        """

    def token(digest: bytes) -> Awaitable[Token | None]:
        """
        :param digest: SHA-256 of the presented token.
        :return: the live token of that hash whose workspace is not removed, else ``None``.
        """

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
        Add a token.

        :param only_first: add it only if the workspace has no live token, atomically.
        :raise chatfiles.errors.Conflict: a token of that hash exists, revoked or not.
        :return: the token; ``None`` if there is no such workspace, or *only_first* forbade it.
        """

    def has_live_token(workspace_id: UUID) -> Awaitable[bool]:
        """:return: whether any token of the workspace is not revoked."""

    def tokens(workspace_id: UUID) -> Awaitable[Sequence[Token]]:
        """:return: the live tokens of a workspace, oldest first."""

    def revoke_token(workspace_id: UUID, token_id: UUID) -> Awaitable[bool]:
        """:return: whether this workspace had this live token."""

    def touch_tokens(used: Mapping[UUID, datetime]) -> Awaitable[None]:
        """
        Record when tokens were last used, in one batch; never sets a time back.

        :param used: token id → aware time; a thousand at most.
        """
