"""
The embedded registry: one SQLite file beside the process.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred, gatherResults
from zope.interface import implementer

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry import queries
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.platform.registry.migrations import SchemaTooNew, load
from chatfiles.platform.registry.queries import Change
from chatfiles.platform.registry.sql_registry import SQLRegistry
from chatfiles.platform.registry.sqlite.call_thread import ReactorClock
from chatfiles.platform.registry.sqlite.change_poller import ChangePoller
from chatfiles.platform.registry.sqlite.connection_thread import ConnectionThread
from chatfiles.platform.registry.sqlite.file import DatabaseFile, transaction
from chatfiles.platform.registry.sqlite.schema import migrate
from chatfiles.platform.registry.sqlite.session import Session, at_once, violated
from chatfiles.platform.registry.subscribers import Subscribers

__all__ = ["SQLiteRegistry"]

#: Seconds in which a call is answered.
TIMEOUT = 2.0
#: Seconds for `SQLiteRegistry.start`, which may have a large table to index.
START_TIMEOUT = 30.0
#: Seconds between two looks for changes by other processes, and for each of them, which may have to
#: wait behind a write that waits for a lock.  Together they are less than the second in which a
#: revoked token is refused.
POLL_INTERVAL, LOOK_TIMEOUT = 0.5, 0.4

T = TypeVar("T")


@implementer(IWorkspaceRegistry)
class SQLiteRegistry(SQLRegistry):
    """
    A registry in a file, for one process or a few on one machine.

    Two threads work on it, each with a connection of its own: one reads, one writes.  SQLite's
    write-ahead log lets them, so that a lookup waits neither for a disk to flush nor for another
    process's lock.  Every commit is flushed (``synchronous = FULL``): a revoked token must not come
    back with the power.

    Changes by other processes are noticed by polling, every *poll_interval* seconds while anyone is
    subscribed, and told as ``None``; so are failures to poll, and polls that take too long.  Who
    asks whether it is `watching` makes it glance at the write-ahead log, which commits change,
    ours as well.

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
        super().__init__(now, new_id, Subscribers(self._watch_if_needed))
        self._start_timeout = start_timeout
        self._migrations = load("sqlite")
        self._file = DatabaseFile(path)
        self._reader = self._lane("reader", clock, timeout, query_only=True)
        self._writer = self._lane("writer", clock, timeout, query_only=False)
        self._watch = ChangePoller(
            self._look,
            lambda: self._subscribers.tell(None),
            glance=self._file.glance,
            clock=clock,
            interval=poll_interval,
            patience=LOOK_TIMEOUT,
        )
        self._open = False

    def _lane(
        self, name: str, clock: ReactorClock, timeout: float, *, query_only: bool
    ) -> ConnectionThread:
        return ConnectionThread(
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
                await lane.call("start", _check, timeout=self._start_timeout)
        except RegistryUnavailable as error:
            if isinstance(error.__cause__, SchemaTooNew):
                raise error.__cause__ from None
            raise
        await self._watch.begin()
        self._watch_if_needed()

    @property
    def watching(self) -> bool:
        return self._watch.is_sure()

    async def close(self) -> None:
        self._open = False
        self._watch_if_needed()
        await gatherResults([self._reader.close(), self._writer.close()])

    def _read(self, what: str, query: Callable[[Session], Awaitable[T]]) -> Deferred[T]:
        return self._reader.call(what, lambda db: at_once(query(Session(db))))

    def _change(self, what: str, change: Callable[[Session], Awaitable[Change[T]]]) -> Deferred[T]:
        def work(db: sqlite3.Connection) -> Change[T]:
            try:
                with transaction(db):
                    return at_once(change(Session(db)))
            except sqlite3.IntegrityError as error:
                raise violated(error) from error

        def finished(done: Change[T]) -> None:
            for workspace_id in done[1]:
                self._subscribers.tell(workspace_id)

        return self._writer.call(what, work, finished=finished).addCallback(lambda done: done[0])

    def _watch_if_needed(self) -> None:
        self._watch.turn(self._open and len(self._subscribers) > 0)

    def _look(self) -> Deferred[object]:
        # A connection does not count its own changes: the one that makes ours sees the others'.
        return self._writer.call("watch", lambda db: (self._writer.opened, _version(db)))


def _check(db: sqlite3.Connection) -> None:
    at_once(queries.check(Session(db)))


def _version(db: sqlite3.Connection) -> int:
    """:return: a number that changes when another connection has changed the database."""
    (seen,) = db.execute("PRAGMA data_version").fetchone()
    return int(seen)
