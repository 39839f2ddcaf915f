"""
The embedded registry: one SQLite file on the local machine.
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
from chatfiles.platform.registry.outage_log import OutageLog
from chatfiles.platform.registry.queries import Change, Session
from chatfiles.platform.registry.sql_registry import SQLRegistry
from chatfiles.platform.registry.sqlite.change_poller import ChangePoller
from chatfiles.platform.registry.sqlite.connection_thread import ConnectionThread, ReactorClock
from chatfiles.platform.registry.sqlite.file import Connection, DatabaseFile, transaction
from chatfiles.platform.registry.sqlite.schema import migrate
from chatfiles.platform.registry.sqlite.session import (
    SQLiteSession,
    constraint_error_of,
    run_synchronously,
)
from chatfiles.platform.registry.subscribers import Subscribers

__all__ = ["SQLiteRegistry"]

#: Seconds that a call may take.
TIMEOUT = 2.0
#: Seconds that `SQLiteRegistry.start` may take: it may have to index a large table.
START_TIMEOUT = 30.0
#: Seconds between two polls for changes by other processes, and seconds for each poll, which may
#: have to wait behind a write that waits for a lock.  Their sum is less than one second, because a
#: revoked token must be refused within a second.
POLL_INTERVAL, POLL_TIMEOUT = 0.5, 0.4

T = TypeVar("T")


@implementer(IWorkspaceRegistry)
class SQLiteRegistry(SQLRegistry):
    """
    A registry in a file, for one process or a few processes on one machine.

    It has two threads, each with its own connection: one reads, one writes.  SQLite's write-ahead
    log allows this, so that a read waits neither for the disk to flush nor for a lock of another
    process.  Every commit is flushed (``synchronous = FULL``): a revoked token must not become
    valid again after a power failure.

    While there are subscribers, the registry polls for changes by other processes.  It notifies
    subscribers of such a change with ``None``, and also when a poll fails or takes too long.
    `watching` checks the write-ahead log, which every commit changes, including those of this
    registry.

    :param path: of the file, which `start` creates (mode 0600) in a directory that exists.
    :param clock: the reactor.
    :param now: returns the current time, with its time zone.
    :param new_id: returns the id of a new token.
    :param timeout: seconds that a call may take.
    :param start_timeout: seconds that each of the two threads may take to open the file.
    :param poll_interval: seconds between two polls.
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
        super().__init__(now, new_id, Subscribers(self._poll_if_needed))
        self._clock = clock
        self._timeout = timeout
        self._start_timeout = start_timeout
        self._migrations = load("sqlite")
        self._file = DatabaseFile(path)
        self._write_connection = self._new_connection(query_only=False)
        self._reader = self._new_thread("reader", self._new_connection(query_only=True))
        self._writer = self._new_thread("writer", self._write_connection)
        self._poller = ChangePoller(
            self._read_version,
            lambda: self._subscribers.notify(None),
            read_hint=self._file.log_state,
            clock=clock,
            interval=poll_interval,
            timeout=POLL_TIMEOUT,
        )
        self._is_open = False

    def _new_connection(self, *, query_only: bool) -> Connection:
        # The wait for a lock is shorter than a call's timeout, so that the log can distinguish a
        # lock from a slow disk.
        return Connection(
            self._file,
            busy_timeout=self._timeout * 0.75,
            query_only=query_only,
            prepare=lambda connection: migrate(connection, self._migrations, self._now()),
        )

    def _new_thread(self, name: str, connection: Connection) -> ConnectionThread:
        return ConnectionThread(
            f"registry-{name}",
            connection,
            clock=self._clock,
            timeout=self._timeout,
            outcome=OutageLog(f"registry {self._file.path} ({name})").outcome,
        )

    async def start(self) -> None:
        """
        Open the file.  May be called again after it failed.

        :raise chatfiles.platform.registry.migrations.SchemaTooNew: a newer chatfiles has migrated
            the database.
        :raise RegistryUnavailable: the file cannot be used; the cause says why.
        """
        threads = (self._writer, self._reader)
        for thread in threads:
            thread.start()
        self._is_open = True
        try:
            for thread in threads:
                await thread.call("start", _check, timeout=self._start_timeout)
        except RegistryUnavailable as error:
            if isinstance(error.__cause__, SchemaTooNew):
                raise error.__cause__ from None
            raise
        await self._poller.start(self._start_timeout)
        self._poll_if_needed()

    @property
    def watching(self) -> bool:
        """See `IWorkspaceRegistry`."""
        return self._poller.is_current()

    async def close(self) -> None:
        """See `IWorkspaceRegistry`."""
        self._is_open = False
        self._poll_if_needed()
        await gatherResults([self._reader.close(), self._writer.close()])

    def _read(self, what: str, query: Callable[[Session], Awaitable[T]]) -> Deferred[T]:
        return self._reader.call(what, lambda db: run_synchronously(query(SQLiteSession(db))))

    def _change(self, what: str, change: Callable[[Session], Awaitable[Change[T]]]) -> Deferred[T]:
        def work(db: sqlite3.Connection) -> Change[T]:
            try:
                with transaction(db):
                    return run_synchronously(change(SQLiteSession(db)))
            except sqlite3.IntegrityError as error:
                raise constraint_error_of(error) from error

        def notify(done: Change[T]) -> T:
            result, changed = done
            for workspace_id in changed:
                self._subscribers.notify(workspace_id)
            return result

        # Subscribers are notified even if the client no longer waits for the change.
        return self._writer.call(what, work, discard=notify).addCallback(notify)

    def _poll_if_needed(self) -> None:
        self._poller.enable(self._is_open and len(self._subscribers) > 0)

    def _read_version(self, timeout: float | None) -> Deferred[object]:
        # A connection's own changes do not change the version that it reads.  This connection makes
        # all changes of this process, so it sees only those of other processes.
        return self._writer.call(
            "poll", lambda db: (self._write_connection.opened, _version(db)), timeout=timeout
        )


def _check(db: sqlite3.Connection) -> None:
    run_synchronously(queries.check(SQLiteSession(db)))


def _version(db: sqlite3.Connection) -> int:
    """:return: a number that changes when another connection has changed the database."""
    (version,) = db.execute("PRAGMA data_version").fetchone()
    return int(version)
