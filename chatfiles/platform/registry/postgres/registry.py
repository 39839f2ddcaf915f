"""
The registry that many platform nodes share: PostgreSQL, through txpostgres.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred, gatherResults
from zope.interface import implementer

from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.platform.registry.migrations import load
from chatfiles.platform.registry.outage_log import OutageLog, Outcome
from chatfiles.platform.registry.postgres.address import PostgresAddress
from chatfiles.platform.registry.postgres.connection import PostgresConnection
from chatfiles.platform.registry.postgres.connector import PostgresConnector
from chatfiles.platform.registry.postgres.listener import PostgresListener
from chatfiles.platform.registry.postgres.pool import PostgresPool
from chatfiles.platform.registry.postgres.session import PostgresSession, in_transaction
from chatfiles.platform.registry.postgres.startup import PostgresStartup
from chatfiles.platform.registry.queries import Change, Session
from chatfiles.platform.registry.sql_registry import SQLRegistry
from chatfiles.platform.registry.subscribers import Subscribers
from chatfiles.runtime.name_lookup import Lookup, system_lookup

__all__ = ["PostgresRegistry"]

#: Seconds that a call may take.
TIMEOUT = 2.0
#: The share of `TIMEOUT` after which the server cancels a statement, so that the log can
#: distinguish a lock from a connection that hangs.
STATEMENT_PART = 0.75
#: Seconds for each statement of a migration, which may have to index a large table.
MIGRATION_TIMEOUT = 300.0
#: Connections for reads, and for writes: a read never waits behind a write that waits for a lock.
READERS, WRITERS = 4, 2

T = TypeVar("T")


@implementer(IWorkspaceRegistry)
class PostgresRegistry(SQLRegistry):
    """
    A registry in PostgreSQL.

    Subscribers are notified twice of a change through this registry: when it is committed, and when
    PostgreSQL's notification arrives, as for changes by other programs.  While PostgreSQL cannot
    notify, `watching` is false, and nothing may be cached.

    :param url: ``postgresql://…``; its password is never shown.
    :param reactor: provides every reactor interface.
    :param now: returns the current time, with its time zone.
    :param new_id: returns the id of a new token.
    :param timeout: seconds that a call may take.
    :param lookup: looks up a host name; called in a thread.
    :raise ValueError: the URL is not valid; the text does not repeat it.
    """

    def __init__(
        self,
        url: str,
        *,
        reactor: Any,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], UUID] = uuid4,
        timeout: float = TIMEOUT,
        lookup: Lookup = system_lookup,
    ) -> None:
        address = PostgresAddress.parse(url)
        super().__init__(now, new_id, Subscribers())
        self._connector = PostgresConnector(
            address,
            reactor=reactor,
            timeout=timeout * STATEMENT_PART,
            statement_timeout=timeout * STATEMENT_PART,
            lookup=lookup,
        )

        def outcome(part: str) -> Outcome:
            return OutageLog(f"registry {address.display_url} ({part})").outcome

        def pool(part: str, size: int) -> PostgresPool:
            return PostgresPool(
                self._connector.connect,
                clock=reactor,
                size=size,
                timeout=timeout,
                outcome=outcome(part),
            )

        self._readers, self._writers = pool("readers", READERS), pool("writers", WRITERS)
        self._listener = PostgresListener(
            self._connector.connect,
            self._subscribers.notify,
            clock=reactor,
            outcome=outcome("listener"),
            new_id=uuid4,
        )
        self._startup = PostgresStartup(
            self._connector.connect,
            load("postgresql"),
            self._opened,
            clock=reactor,
            now=now,
            statement_timeout=MIGRATION_TIMEOUT,
            outcome=outcome("schema"),
        )

    @property
    def watching(self) -> bool:
        """See `IWorkspaceRegistry`."""
        return self._listener.watching

    def start(self) -> Deferred[None]:
        """
        Connect and migrate.  If the server cannot be reached, retry until this succeeds or the
        registry is closed; calls fail until then.

        :raise RegistryUnavailable: the first attempt has failed.
        :raise chatfiles.platform.registry.migrations.SchemaTooNew: a newer chatfiles has migrated
            the database; there is no retry.
        """
        self._connector.start()
        return self._startup.start()

    def _opened(self) -> Deferred[None]:
        self._readers.open()
        self._writers.open()
        return self._listener.start()

    async def close(self) -> None:
        """See `IWorkspaceRegistry`."""
        await self._startup.close()
        await gatherResults([self._readers.close(), self._writers.close()])
        await self._listener.close()
        self._connector.close()

    def _read(self, what: str, query: Callable[[Session], Awaitable[T]]) -> Deferred[T]:
        async def work(connection: PostgresConnection) -> T:
            result = await query(PostgresSession(connection))
            if connection.is_standby:
                self._read_from_standby(connection)
            return result

        return self._readers.call(
            what,
            lambda connection, _: Deferred.fromCoroutine(work(connection)),
            may_repeat=True,
        )

    def _read_from_standby(self, connection: PostgresConnection) -> None:
        """The result may be older than the changes notified so far: it must not be cached."""
        self._subscribers.notify(None)
        if self.watching:  # there is a primary again, which notifies
            connection.discard()

    def _change(self, what: str, change: Callable[[Session], Awaitable[Change[T]]]) -> Deferred[T]:
        async def work(connection: PostgresConnection, is_wanted: Callable[[], bool]) -> T:
            result, changed = await in_transaction(connection, change, is_wanted=is_wanted)
            for workspace_id in changed:
                self._subscribers.notify(workspace_id)
            return result

        return self._writers.call(
            what,
            lambda connection, is_wanted: Deferred.fromCoroutine(work(connection, is_wanted)),
            may_repeat=False,
        )
