"""
A registry in memory, for tests.  It passes the same contract tests as the registries in databases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from chatfiles.errors import ChatfilesError, RegistryUnavailable
from chatfiles.model import ONLINE, LinkClock, Scope, Token, Workspace
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.platform.registry.queries import (
    already_claimed,
    token_exists,
    unknown_workspace,
    workspace_exists,
)
from chatfiles.platform.registry.rows import utc
from chatfiles.platform.registry.subscribers import Subscribers
from chatfiles.testing.memory_channels import MemoryChannels

__all__ = ["MemoryRegistry"]

T = TypeVar("T")


@dataclass
class _Row:
    workspace: Workspace
    created_at: datetime


@dataclass
class _Entry:
    token: Token
    digest: bytes
    revoked: bool = False


@implementer(IWorkspaceRegistry)
class MemoryRegistry(MemoryChannels):
    """
    A fake whose results are available immediately, or when the test releases them.

    As with the other registries, calls before `start` and after `close` fail.

    :ivar holding: while true, calls are executed, but their results wait for `release`.
    :ivar asked: the name of every call so far, in order.
    :param now: returns the current time, with its time zone.
    :param new_id: returns the id of a new token.
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self._subscribers = Subscribers()
        super().__init__(now, self._subscribers.notify)
        self.holding = False
        self.asked: list[str] = []
        self._new_id = new_id
        self._failing = False
        self._open = False
        self._closed = False
        self._rows: dict[UUID, _Row] = {}
        self._entries: dict[UUID, _Entry] = {}
        self._held: list[Callable[[], None]] = []

    @property
    def failing(self) -> bool:
        """
        While true, every call fails with `RegistryUnavailable` and changes nothing.  Setting it
        notifies subscribers of ``None``, like a registry that can no longer see changes.
        """
        return self._failing

    @failing.setter
    def failing(self, failing: bool) -> None:
        self._failing = failing
        if failing:
            self._subscribers.notify(None)

    @property
    def watching(self) -> bool:
        """Whether it is not `failing`."""
        return not self._failing

    def set_status(self, workspace_id: UUID, status: str) -> None:
        """Set the status of a workspace, as another program does, and notify the subscribers."""
        self._store(replace(self._rows[workspace_id].workspace, status=status))

    def release(self) -> None:
        """Stop holding results, and deliver those that were held, in order."""
        self.holding = False
        while self._held:
            self._held.pop(0)()

    def start(self) -> Deferred[None]:
        """See `IWorkspaceRegistry`."""
        self._open = not (self._closed or self._failing)
        return self._respond("start", lambda: None)

    def close(self) -> Deferred[None]:
        """See `IWorkspaceRegistry`."""
        self._open, self._closed = False, True
        self.release()
        return succeed(None)

    def check(self) -> Deferred[None]:
        """See `IWorkspaceRegistry`."""
        return self._respond("check", lambda: None)

    def subscribe(self, changed: Callable[[UUID | None], None]) -> Callable[[], None]:
        """See `IWorkspaceRegistry`."""
        return self._subscribers.subscribe(changed)

    def workspace(self, workspace_id: UUID) -> Deferred[Workspace | None]:
        """See `IWorkspaceRegistry`."""
        return self._respond("workspace", lambda: self._live(workspace_id))

    def fresh_workspace(self, workspace_id: UUID) -> Deferred[Workspace | None]:
        """See `IWorkspaceRegistry`."""
        return self._respond("fresh_workspace", lambda: self._live(workspace_id))

    def workspaces(self, *, limit: int, after: UUID | None = None) -> Deferred[Sequence[Workspace]]:
        """See `IWorkspaceRegistry`."""

        def read() -> Sequence[Workspace]:
            rows = sorted(self._rows.values(), key=lambda row: (row.created_at, row.workspace.id))
            if after is not None and after not in self._rows:
                raise unknown_workspace()
            ids = [row.workspace.id for row in rows]
            behind = rows[0 if after is None else ids.index(after) + 1 :]
            live = [row.workspace for row in behind if row.workspace.status != "removed"]
            return live[:limit]

        return self._respond("workspaces", read)

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

        def change() -> Workspace:
            if workspace_id in self._rows:
                raise workspace_exists()
            self._check_new(digest)
            created = self._store(
                Workspace(workspace_id, name, url, "provisioning", delivery_mode, secret)
            )
            self._add_token(workspace_id, digest, prefix, scopes, token_name)
            return created

        return self._respond("create_workspace", change)

    def register(
        self,
        workspace_id: UUID,
        *,
        url: str | None,
        delivery_mode: str | None,
        create_name: str | None,
    ) -> Deferred[Workspace | None]:
        """See `IWorkspaceRegistry`."""
        return self._respond(
            "register", lambda: self._register(workspace_id, url, delivery_mode, create_name)
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

        def change() -> Workspace | None:
            if self._entries_of(workspace_id):
                raise already_claimed()
            self._check_new(digest)
            found = self._register(workspace_id, url, delivery_mode, create_name)
            if found is not None:
                self._add_token(workspace_id, digest, prefix, scopes, name)
            return found

        return self._respond("claim", change)

    def ensure_secret(self, workspace_id: UUID, candidate: str) -> Deferred[str | None]:
        """See `IWorkspaceRegistry`."""

        def change() -> str | None:
            found = self._live(workspace_id)
            if found is not None and not found.inbound_secret:
                found = self._store(replace(found, inbound_secret=candidate))
            return None if found is None else found.inbound_secret

        return self._respond("ensure_secret", change)

    def rotate_secret(self, workspace_id: UUID, candidate: str, *, force: bool) -> Deferred[bool]:
        """See `IWorkspaceRegistry`."""

        def change() -> bool:
            found = self._live(workspace_id)
            if found is not None and force:
                self._store(replace(found, inbound_secret=candidate, next_secret=None))
            elif found is not None:
                self._store(replace(found, next_secret=candidate))
            return found is not None

        return self._respond("rotate_secret", change)

    def promote_secret(self, workspace_id: UUID, expected: str) -> Deferred[Workspace | None]:
        """See `IWorkspaceRegistry`."""

        def change() -> Workspace | None:
            found = self._live(workspace_id)
            if found is not None and found.next_secret == expected:
                found = self._store(replace(found, inbound_secret=expected, next_secret=None))
            return found

        return self._respond("promote_secret", change)

    def touch_workspaces(self, last_seen: Mapping[UUID, datetime]) -> Deferred[None]:
        """See `IWorkspaceRegistry`."""

        def change() -> None:
            for workspace_id, seen_at in last_seen.items():
                found = self._live(workspace_id)
                if found is not None:
                    latest = _later(found.last_heartbeat_at, seen_at)
                    self._rows[workspace_id].workspace = replace(found, last_heartbeat_at=latest)

        return self._respond("touch_workspaces", change)

    def remove_workspace(self, workspace_id: UUID) -> Deferred[bool]:
        """See `IWorkspaceRegistry`."""

        def change() -> bool:
            found = self._live(workspace_id)
            if found is None:
                return False
            for entry in self._entries_of(workspace_id):
                entry.revoked = True
            self._store(replace(found, status="removed"))
            return True

        return self._respond("remove_workspace", change)

    def link_clock(self, workspace_id: UUID) -> Deferred[LinkClock | None]:
        """See `IWorkspaceRegistry`."""

        def read() -> LinkClock | None:
            found = self._live(workspace_id)
            if found is None:
                return None
            return LinkClock(int(self._now().timestamp()), found.links_not_before)

        return self._respond("link_clock", read)

    def revoke_links(self, workspace_id: UUID) -> Deferred[bool]:
        """See `IWorkspaceRegistry`."""

        def change() -> bool:
            found = self._live(workspace_id)
            if found is None:
                return False
            clock = LinkClock(int(self._now().timestamp()), found.links_not_before)
            self._store(replace(found, links_not_before=clock.issued + 1))
            return True

        return self._respond("revoke_links", change)

    def token(self, digest: bytes) -> Deferred[Token | None]:
        """See `IWorkspaceRegistry`."""

        def read() -> Token | None:
            for entry in self._entries.values():
                if entry.digest == digest and not entry.revoked:
                    return entry.token
            return None

        return self._respond("token", read)

    def token_by_id(self, token_id: UUID) -> Deferred[Token | None]:
        """See `IWorkspaceRegistry`."""

        def read() -> Token | None:
            entry = self._entries.get(token_id)
            return None if entry is None or entry.revoked else entry.token

        return self._respond("token_by_id", read)

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

        def change() -> Token | None:
            if self._live(workspace_id) is None:
                return None
            if only_first and self._entries_of(workspace_id):
                return None
            self._check_new(digest)
            return self._add_token(workspace_id, digest, prefix, scopes, name)

        return self._respond("create_token", change)

    def has_live_token(self, workspace_id: UUID) -> Deferred[bool]:
        """See `IWorkspaceRegistry`."""
        return self._respond("has_live_token", lambda: bool(self._entries_of(workspace_id)))

    def tokens(self, workspace_id: UUID) -> Deferred[Sequence[Token]]:
        """See `IWorkspaceRegistry`."""

        def read() -> Sequence[Token]:
            found = [entry.token for entry in self._entries_of(workspace_id)]
            return sorted(found, key=lambda token: (token.created_at, token.id))

        return self._respond("tokens", read)

    def revoke_token(self, workspace_id: UUID, token_id: UUID) -> Deferred[bool]:
        """See `IWorkspaceRegistry`."""

        def change() -> bool:
            entry = self._entries.get(token_id)
            if entry is None or entry.revoked or entry.token.workspace_id != workspace_id:
                return False
            entry.revoked = True
            self._subscribers.notify(workspace_id)
            return True

        return self._respond("revoke_token", change)

    def touch_tokens(self, used: Mapping[UUID, datetime]) -> Deferred[None]:
        """See `IWorkspaceRegistry`."""

        def change() -> None:
            for token_id, used_at in used.items():
                entry = self._entries.get(token_id)
                if entry is not None:
                    latest = _later(entry.token.last_used_at, used_at)
                    entry.token = replace(entry.token, last_used_at=latest)

        return self._respond("touch_tokens", change)

    def _live(self, workspace_id: UUID) -> Workspace | None:
        row = self._rows.get(workspace_id)
        return None if row is None or row.workspace.status == "removed" else row.workspace

    def _entries_of(self, workspace_id: UUID) -> list[_Entry]:
        return [
            entry
            for entry in self._entries.values()
            if entry.token.workspace_id == workspace_id and not entry.revoked
        ]

    def _register(
        self, workspace_id: UUID, url: str | None, delivery_mode: str | None, name: str | None
    ) -> Workspace | None:
        found = self._live(workspace_id)
        if found is None:
            if name is None or workspace_id in self._rows:
                return None
            found = Workspace(workspace_id, name, None, None, None, None)
        return self._store(
            replace(
                found,
                status="paused" if found.status == "paused" else ONLINE,
                url=found.url if url is None else url or None,
                delivery_mode=found.delivery_mode if delivery_mode is None else delivery_mode,
                last_heartbeat_at=utc(self._now()),
            )
        )

    def _check_new(self, digest: bytes) -> None:
        if any(entry.digest == digest for entry in self._entries.values()):
            raise token_exists()

    def _add_token(
        self,
        workspace_id: UUID,
        digest: bytes,
        prefix: str,
        scopes: frozenset[Scope],
        name: str | None,
    ) -> Token:
        token = Token(
            self._new_id(), workspace_id, prefix, scopes, name, created_at=utc(self._now())
        )
        self._entries[token.id] = _Entry(token, digest)
        self._subscribers.notify(workspace_id)
        return token

    def _store(self, workspace: Workspace) -> Workspace:
        row = self._rows.setdefault(workspace.id, _Row(workspace, utc(self._now())))
        row.workspace = workspace
        self._subscribers.notify(workspace.id)
        return workspace

    def _respond(self, name: str, work: Callable[[], T]) -> Deferred[T]:
        self.asked.append(name)
        result: Deferred[T] = Deferred()
        try:
            if self._failing or not self._open:
                raise RegistryUnavailable
            deliver = partial(result.callback, work())
        except ChatfilesError as error:
            deliver = partial(result.errback, error)
        self._held.append(deliver)
        if not self.holding:
            self.release()
        return result


def _later(known: datetime | None, moment: datetime) -> datetime:
    return utc(moment) if known is None else max(known, utc(moment))
