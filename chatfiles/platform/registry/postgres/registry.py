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
from chatfiles.platform.registry.outage_log import OutageLog
from chatfiles.platform.registry.postgres.address import PostgresAddress
from chatfiles.platform.registry.postgres.call import Call
from chatfiles.platform.registry.postgres.connection import PostgresConnection
from chatfiles.platform.registry.postgres.connector import PostgresConnector
from chatfiles.platform.registry.postgres.listener import PostgresListener
from chatfiles.platform.registry.postgres.pool import PostgresPool
from chatfiles.platform.registry.postgres.session import Session, in_transaction
from chatfiles.platform.registry.postgres.startup import PostgresStartup
from chatfiles.platform.registry.queries import Change
from chatfiles.platform.registry.sql_registry import SQLRegistry
from chatfiles.platform.registry.subscribers import Subscribers
from chatfiles.runtime.name_lookup import Lookup, system_lookup

__all__ = ["PostgresRegistry"]

#: Seconds in which a call is answered.
TIMEOUT = 2.0
#: The part of it after which the server gives a statement up, so that the log can tell a lock from
#: a connection that hangs.
STATEMENT_PART = 0.75
#: Seconds for each statement of a migration, which may have a large table to index.
MIGRATION_TIMEOUT = 300.0
#: Connections that read, and that write.  A change may have to wait for a lock; a lookup never
#: waits behind it.
READERS, WRITERS = 4, 2

T = TypeVar("T")


@implementer(IWorkspaceRegistry)
class PostgresRegistry(SQLRegistry):
    """
    A registry in PostgreSQL.

    Changes are told twice: when a change of ours is done, and when PostgreSQL notifies of it, as of
    everybody's.  While it cannot notify, `watching` is false, and nothing may be kept.

    :param url: ``postgresql://…``; its password is never shown.
    :param reactor: provides every reactor interface.
    :param now: gives the aware time.
    :param new_id: gives the id of a new token.
    :param timeout: seconds in which a call is answered.
    :param lookup: looks a name up; called in a thread.
    :raise ValueError: the URL is none; the text does not repeat it.
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
        self._dialer = PostgresConnector(
            address,
            reactor=reactor,
            timeout=timeout * STATEMENT_PART,
            statement_timeout=timeout * STATEMENT_PART,
            lookup=lookup,
        )

        def trouble(part: str) -> Callable[[str, BaseException | None], None]:
            return OutageLog(f"registry {address.shown} ({part})").outcome

        def pool(part: str, size: int) -> PostgresPool:
            return PostgresPool(
                self._dialer.dial,
                clock=reactor,
                size=size,
                timeout=timeout,
                outcome=trouble(part),
            )

        self._readers, self._writers = pool("readers", READERS), pool("writers", WRITERS)
        self._listener = PostgresListener(
            self._dialer.dial,
            self._subscribers.tell,
            clock=reactor,
            outcome=trouble("listener"),
            new_id=uuid4,
        )
        self._opening = PostgresStartup(
            self._dialer.dial,
            load("postgresql"),
            self._opened,
            clock=reactor,
            now=now,
            patience=MIGRATION_TIMEOUT,
            outcome=trouble("schema"),
        )

    @property
    def watching(self) -> bool:
        """Whether subscribers hear of every change now."""
        return self._listener.watching

    def start(self) -> Deferred[None]:
        """
        Connect and migrate.  If that fails for want of the server, it is tried again and again
        until it has not or the registry is closed; what calls meanwhile fails.

        :raise RegistryUnavailable: the first attempt has failed.
        :raise chatfiles.platform.registry.migrations.SchemaTooNew: a newer chatfiles has migrated
            the database; not tried again.
        """
        self._dialer.start()
        return self._opening.start()

    def _opened(self) -> Deferred[None]:
        self._readers.open()
        self._writers.open()
        return self._listener.start()

    async def close(self) -> None:
        await self._opening.close()
        await gatherResults([self._readers.close(), self._writers.close()])
        await self._listener.close()
        self._dialer.close()

    def _read(self, what: str, query: Callable[[Session], Awaitable[T]]) -> Deferred[T]:
        async def work(link: PostgresConnection) -> T:
            answer = await query(Session(link))
            if link.standby:
                self._read_from_standby(link)
            return answer

        return self._readers.call(
            what, lambda link, _: Deferred.fromCoroutine(work(link)), again=True
        )

    def _read_from_standby(self, link: PostgresConnection) -> None:
        """See to it that nobody keeps what may be older than what was told of."""
        self._subscribers.tell(None)
        if self.watching:  # another server writes again, and tells
            link.discard()

    def _change(self, what: str, change: Callable[[Session], Awaitable[Change[T]]]) -> Deferred[T]:
        async def work(link: PostgresConnection, call: Call[Any]) -> T:
            done, changed = await in_transaction(link, change, wanted=lambda: not call.abandoned)
            for workspace_id in changed:
                self._subscribers.tell(workspace_id)
            return done

        return self._writers.call(
            what, lambda link, call: Deferred.fromCoroutine(work(link, call)), again=False
        )
