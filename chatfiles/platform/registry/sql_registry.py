"""
The common part of the registries in SQLite and PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from twisted.internet.defer import Deferred

from chatfiles.model import LinkClock, Scope, Token, Workspace
from chatfiles.platform.registry import queries
from chatfiles.platform.registry.rows import utc
from chatfiles.platform.registry.sql_channels import SQLChannels
from chatfiles.platform.registry.subscribers import Subscribers
from chatfiles.rules.link_keys import LinkKey

__all__ = ["SQLRegistry"]


class SQLRegistry(SQLChannels):
    """
    The methods of `IWorkspaceRegistry` that use the database.  A subclass runs them by implementing
    `_read` and `_change`.

    :param now: returns the current time, with its time zone.
    :param new_id: returns the id of a new token.
    :param subscribers: are notified of changes.
    """

    def __init__(
        self, now: Callable[[], datetime], new_id: Callable[[], UUID], subscribers: Subscribers
    ) -> None:
        super().__init__(now)
        self._new_id = new_id
        self._subscribers = subscribers

    @property
    def watching(self) -> bool:
        """See `IWorkspaceRegistry`."""
        return True

    def subscribe(self, changed: Callable[[UUID | None], None]) -> Callable[[], None]:
        """See `IWorkspaceRegistry`."""
        return self._subscribers.subscribe(changed)

    def check(self) -> Deferred[None]:
        """See `IWorkspaceRegistry`."""
        return self._read("check", queries.check)

    def workspace(self, workspace_id: UUID) -> Deferred[Workspace | None]:
        """See `IWorkspaceRegistry`."""
        return self._read("workspace", lambda db: queries.workspace(db, workspace_id))

    fresh_workspace = workspace

    def workspaces(self, *, limit: int, after: UUID | None = None) -> Deferred[Sequence[Workspace]]:
        """See `IWorkspaceRegistry`."""
        return self._read("workspaces", lambda db: queries.workspaces(db, limit, after))

    def create_workspace(
        self,
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
    ) -> Deferred[Workspace]:
        """See `IWorkspaceRegistry`."""
        now = self._now()
        first = self._new_token(workspace_id, prefix, scopes, token_name)
        return self._change(
            "create_workspace",
            lambda db: queries.create_workspace(
                db,
                first,
                digest,
                now,
                name=name,
                url=url,
                delivery_mode=delivery_mode,
                secret=secret,
            ),
        )

    def register(
        self,
        workspace_id: UUID,
        *,
        url: str | None,
        delivery_mode: str | None,
        create_name: str | None,
    ) -> Deferred[Workspace | None]:
        """See `IWorkspaceRegistry`."""
        now = self._now()
        return self._change(
            "register",
            lambda db: queries.register(
                db,
                workspace_id,
                now,
                url=url,
                delivery_mode=delivery_mode,
                create_name=create_name,
            ),
        )

    def claim(
        self,
        workspace_id: UUID,
        *,
        url: str | None,
        delivery_mode: str | None,
        create_name: str,
        digest: bytes,
        prefix: str,
        scopes: frozenset[Scope],
        name: str | None,
    ) -> Deferred[Workspace | None]:
        """See `IWorkspaceRegistry`."""
        now = self._now()
        new = self._new_token(workspace_id, prefix, scopes, name)
        return self._change(
            "claim",
            lambda db: queries.claim(
                db,
                new,
                digest,
                now,
                url=url,
                delivery_mode=delivery_mode,
                create_name=create_name,
            ),
        )

    def ensure_secret(self, workspace_id: UUID, candidate: str) -> Deferred[str | None]:
        """See `IWorkspaceRegistry`."""
        now = self._now()
        return self._change(
            "ensure_secret", lambda db: queries.ensure_secret(db, workspace_id, now, candidate)
        )

    def rotate_secret(self, workspace_id: UUID, candidate: str, *, force: bool) -> Deferred[bool]:
        """See `IWorkspaceRegistry`."""
        now = self._now()
        return self._change(
            "rotate_secret",
            lambda db: queries.rotate_secret(db, workspace_id, now, candidate, force=force),
        )

    def promote_secret(self, workspace_id: UUID, expected: str) -> Deferred[Workspace | None]:
        """See `IWorkspaceRegistry`."""
        now = self._now()
        return self._change(
            "promote_secret", lambda db: queries.promote_secret(db, workspace_id, now, expected)
        )

    def touch_workspaces(self, last_seen: Mapping[UUID, datetime]) -> Deferred[None]:
        """See `IWorkspaceRegistry`."""
        batch = dict(last_seen)
        return self._change("touch_workspaces", lambda db: queries.touch_workspaces(db, batch))

    def remove_workspace(self, workspace_id: UUID) -> Deferred[bool]:
        """See `IWorkspaceRegistry`."""
        now = self._now()
        return self._change(
            "remove_workspace", lambda db: queries.remove_workspace(db, workspace_id, now)
        )

    def link_clock(self, workspace_id: UUID) -> Deferred[LinkClock | None]:
        """See `IWorkspaceRegistry`."""
        now = self._now()
        return self._read("link_clock", lambda db: queries.link_clock(db, workspace_id, now))

    def revoke_links(self, workspace_id: UUID) -> Deferred[bool]:
        """See `IWorkspaceRegistry`."""
        now = self._now()
        return self._change("revoke_links", lambda db: queries.revoke_links(db, workspace_id, now))

    def token(self, digest: bytes) -> Deferred[Token | None]:
        """See `IWorkspaceRegistry`."""
        return self._read("token", lambda db: queries.token(db, digest))

    def token_by_id(self, token_id: UUID) -> Deferred[Token | None]:
        """See `IWorkspaceRegistry`."""
        return self._read("token_by_id", lambda db: queries.token_by_id(db, token_id))

    def create_token(
        self,
        workspace_id: UUID,
        *,
        digest: bytes,
        prefix: str,
        scopes: frozenset[Scope],
        name: str | None,
        only_first: bool = False,
    ) -> Deferred[Token | None]:
        """See `IWorkspaceRegistry`."""
        new = self._new_token(workspace_id, prefix, scopes, name)
        return self._change(
            "create_token",
            lambda db: queries.create_token(db, new, digest, only_first=only_first),
        )

    def _new_token(
        self, workspace_id: UUID, prefix: str, scopes: frozenset[Scope], name: str | None
    ) -> Token:
        return Token(
            id=self._new_id(),
            workspace_id=workspace_id,
            prefix=prefix,
            scopes=scopes,
            name=name,
            created_at=utc(self._now()),
        )

    def has_live_token(self, workspace_id: UUID) -> Deferred[bool]:
        """See `IWorkspaceRegistry`."""
        return self._read("has_live_token", lambda db: queries.has_live_token(db, workspace_id))

    def tokens(self, workspace_id: UUID) -> Deferred[Sequence[Token]]:
        """See `IWorkspaceRegistry`."""
        return self._read("tokens", lambda db: queries.tokens(db, workspace_id))

    def revoke_token(self, workspace_id: UUID, token_id: UUID) -> Deferred[bool]:
        """See `IWorkspaceRegistry`."""
        now = self._now()
        return self._change(
            "revoke_token", lambda db: queries.revoke_token(db, workspace_id, token_id, now)
        )

    def touch_tokens(self, used: Mapping[UUID, datetime]) -> Deferred[None]:
        """See `IWorkspaceRegistry`."""
        batch = dict(used)
        return self._change("touch_tokens", lambda db: queries.touch_tokens(db, batch))

    def link_keys(self) -> Deferred[Sequence[LinkKey]]:
        """See `IWorkspaceRegistry`."""
        return self._read("link_keys", queries.link_keys)

    fresh_link_keys = link_keys

    def ensure_link_key(self, candidate: LinkKey) -> Deferred[LinkKey]:
        """See `IWorkspaceRegistry`."""
        now = self._now()
        return self._change(
            "ensure_link_key", lambda db: queries.ensure_link_key(db, now, candidate)
        )

    def rotate_link_keys(self, successor: LinkKey) -> Deferred[None]:
        """See `IWorkspaceRegistry`."""
        now = self._now()
        return self._change(
            "rotate_link_keys", lambda db: queries.rotate_link_keys(db, now, successor)
        )

    def revoke_link_key(self, key_id: str) -> Deferred[bool]:
        """See `IWorkspaceRegistry`."""
        return self._change("revoke_link_key", lambda db: queries.revoke_link_key(db, key_id))
