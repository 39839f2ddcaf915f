"""
The embedded registry: one SQLite file beside the process.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred, gatherResults
from zope.interface import implementer

from chatfiles.errors import RegistryUnavailable
from chatfiles.interfaces import IWorkspaceRegistry
from chatfiles.model import Scope, Token, Workspace
from chatfiles.platform.registry import sqlite_queries as queries
from chatfiles.platform.registry.changes import Subscribers
from chatfiles.platform.registry.lane import Lane
from chatfiles.platform.registry.migrations import SchemaTooNew, load
from chatfiles.platform.registry.rows import utc
from chatfiles.platform.registry.sqlite_file import DatabaseFile, transaction
from chatfiles.platform.registry.sqlite_schema import migrate
from chatfiles.platform.registry.threads import ReactorClock
from chatfiles.platform.registry.watch import Watch

__all__ = ["SQLiteRegistry"]

#: Seconds in which a call is answered.
TIMEOUT = 2.0
#: Seconds for `SQLiteRegistry.start`, which may have a large table to index.
START_TIMEOUT = 30.0
#: Seconds between two looks for changes by other processes.
POLL_INTERVAL = 0.5

T = TypeVar("T")


@implementer(IWorkspaceRegistry)
class SQLiteRegistry:
    """
    A registry in a file, for one process or a few on one machine.

    Two threads work on it, each with a connection of its own: one reads, one writes.  SQLite's
    write-ahead log lets them, so that a lookup waits neither for a disk to flush nor for another
    process's lock.  Every commit is flushed (``synchronous = FULL``): a revoked token must not come
    back with the power.

    Changes by other processes are noticed by polling, every *poll_interval* seconds while anyone is
    subscribed, and told as ``None``; so are failures to poll.

    :param path: of the file, which `start` creates (0600) in a directory that exists.
    :param clock: the reactor.
    :param now: gives the aware time.
    :param new_id: gives the id of a new token.
    :param timeout: seconds in which a call is answered.
    """

    def __init__(
        self,
        path: str,
        *,
        clock: ReactorClock,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], UUID] = uuid4,
        timeout: float = TIMEOUT,
        start_timeout: float = START_TIMEOUT,
        poll_interval: float = POLL_INTERVAL,
    ) -> None:
        self._now = now
        self._new_id = new_id
        self._start_timeout = start_timeout
        self._migrations = load("sqlite")
        self._file = DatabaseFile(path)
        self._reader = self._lane("reader", clock, timeout, query_only=True)
        self._writer = self._lane("writer", clock, timeout, query_only=False)
        self._watch = Watch(
            self._look, lambda: self._subscribers.tell(None), clock=clock, interval=poll_interval
        )
        self._subscribers = Subscribers(self._watch_if_needed)
        self._open = False

    def _lane(self, name: str, clock: ReactorClock, timeout: float, *, query_only: bool) -> Lane:
        return Lane(
            name,
            self._file,
            clock=clock,
            timeout=timeout,
            query_only=query_only,
            prepare=lambda connection: migrate(connection, self._migrations, self._now()),
        )

    async def start(self) -> None:
        """
        Open the file; may be tried again.

        :raise chatfiles.platform.registry.migrations.SchemaTooNew: a newer chatfiles has migrated
            the database.
        """
        lanes = (self._writer, self._reader)
        for lane in lanes:
            lane.start()
        self._open = True
        try:
            for lane in lanes:
                await lane.call("start", queries.check, timeout=self._start_timeout)
        except RegistryUnavailable as error:
            if isinstance(error.__cause__, SchemaTooNew):
                raise error.__cause__ from None
            raise
        await self._watch.begin()
        self._watch_if_needed()

    async def close(self) -> None:
        self._open = False
        self._watch_if_needed()
        await gatherResults([self._reader.close(), self._writer.close()])

    def check(self) -> Deferred[None]:
        return self._reader.call("check", queries.check)

    def subscribe(self, changed: Callable[[UUID | None], None]) -> Callable[[], None]:
        return self._subscribers.subscribe(changed)

    def workspace(self, workspace_id: UUID) -> Deferred[Workspace | None]:
        return self._reader.call("workspace", lambda db: queries.workspace(db, workspace_id))

    fresh_workspace = workspace

    def workspaces(self) -> Deferred[Sequence[Workspace]]:
        return self._reader.call("workspaces", queries.workspaces)

    def create_workspace(
        self,
        workspace_id: UUID,
        *,
        name: str,
        url: str | None,
        delivery_mode: str | None,
        secret: str,
    ) -> Deferred[Workspace]:
        change = partial(
            queries.create_workspace,
            workspace_id=workspace_id,
            now=self._now(),
            name=name,
            url=url,
            delivery_mode=delivery_mode,
            secret=secret,
        )
        return self._change("create_workspace", change)

    def register(
        self,
        workspace_id: UUID,
        *,
        url: str | None,
        delivery_mode: str | None,
        create_name: str | None,
    ) -> Deferred[Workspace | None]:
        change = partial(
            queries.register,
            workspace_id=workspace_id,
            now=self._now(),
            url=url,
            delivery_mode=delivery_mode,
            create_name=create_name,
        )
        return self._change("register", change)

    def ensure_secret(self, workspace_id: UUID, candidate: str) -> Deferred[str | None]:
        now = self._now()
        return self._change(
            "ensure_secret", lambda db: queries.ensure_secret(db, workspace_id, now, candidate)
        )

    def heartbeat(self, workspace_id: UUID) -> Deferred[Workspace | None]:
        now = self._now()
        return self._change("heartbeat", lambda db: queries.heartbeat(db, workspace_id, now))

    def remove_workspace(self, workspace_id: UUID) -> Deferred[bool]:
        now = self._now()
        return self._change(
            "remove_workspace", lambda db: queries.remove_workspace(db, workspace_id, now)
        )

    def token(self, digest: bytes) -> Deferred[Token | None]:
        return self._reader.call("token", lambda db: queries.token(db, digest))

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
        new = Token(
            id=self._new_id(),
            workspace_id=workspace_id,
            prefix=prefix,
            scopes=scopes,
            name=name,
            created_at=utc(self._now()),
        )
        return self._change(
            "create_token",
            lambda db: queries.create_token(db, new, digest, only_first=only_first),
        )

    def has_live_token(self, workspace_id: UUID) -> Deferred[bool]:
        return self._reader.call(
            "has_live_token", lambda db: queries.has_live_token(db, workspace_id)
        )

    def tokens(self, workspace_id: UUID) -> Deferred[Sequence[Token]]:
        return self._reader.call("tokens", lambda db: queries.tokens(db, workspace_id))

    def revoke_token(self, workspace_id: UUID, token_id: UUID) -> Deferred[bool]:
        now = self._now()
        return self._change(
            "revoke_token", lambda db: queries.revoke_token(db, workspace_id, token_id, now)
        )

    def touch_tokens(self, used: Mapping[UUID, datetime]) -> Deferred[None]:
        batch = dict(used)
        return self._change("touch_tokens", lambda db: queries.touch_tokens(db, batch))

    def _change(
        self, what: str, change: Callable[[sqlite3.Connection], queries.Change[T]]
    ) -> Deferred[T]:
        def work(db: sqlite3.Connection) -> queries.Change[T]:
            with transaction(db):
                return change(db)

        def finished(done: queries.Change[T]) -> None:
            for workspace_id in done[1]:
                self._subscribers.tell(workspace_id)

        return self._writer.call(what, work, finished=finished).addCallback(lambda done: done[0])

    def _watch_if_needed(self) -> None:
        self._watch.turn(self._open and len(self._subscribers) > 0)

    def _look(self) -> Deferred[object]:
        # A connection does not count its own changes: the one that makes ours sees the others'.
        return self._writer.call("watch", lambda db: (self._writer.opened, queries.version(db)))
