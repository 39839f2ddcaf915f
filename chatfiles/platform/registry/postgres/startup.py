"""
Connects and migrates when the registry starts, and retries until it succeeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry.migrations import Migration
from chatfiles.platform.registry.outage_log import Outcome
from chatfiles.platform.registry.postgres.connection import PostgresConnection, PostgresError
from chatfiles.platform.registry.postgres.schema import migrate

__all__ = ["PostgresStartup"]

#: Seconds between two attempts.
RETRY_DELAY = 0.5


class PostgresStartup:
    """
    Connects to the server and migrates the database.

    If the server cannot be reached, it retries until it succeeds or is closed.

    :param connect: opens a connection; fails with `RegistryUnavailable`.
    :param migrations: all migrations, in order.
    :param opened: called after a success; `start` waits for its Deferred.
    :param clock: the reactor.
    :param now: returns the current time, with its time zone.
    :param statement_timeout: seconds for each statement of a migration.
    :param outcome: called with the outcome of each attempt.
    """

    def __init__(
        self,
        connect: Callable[[], Deferred[PostgresConnection]],
        migrations: Sequence[Migration],
        opened: Callable[[], Deferred[None]],
        *,
        clock: IReactorTime,
        now: Callable[[], datetime],
        statement_timeout: float,
        outcome: Outcome,
    ) -> None:
        self._connect = connect
        self._migrations = migrations
        self._opened = opened
        self._clock = clock
        self._now = now
        self._statement_timeout = statement_timeout
        self._outcome = outcome
        self._is_done = False
        self._is_closed = False
        self._attempt: Deferred[None] | None = None
        self._next: IDelayedCall | None = None
        self._connection: PostgresConnection | None = None
        self._waiting: list[Deferred[None]] = []

    def start(self) -> Deferred[None]:
        """
        Make an attempt, unless one is being made.

        :return: fires when the attempt succeeds; fails with the error of the attempt.
        """
        if self._is_closed:
            return fail(RegistryUnavailable())
        if self._is_done:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        if self._next is not None and self._next.active():
            self._next.cancel()
        if self._attempt is None:
            self._try()
        return waiting

    async def close(self) -> None:
        """End all attempts; idempotent."""
        self._is_closed = True
        if self._next is not None and self._next.active():
            self._next.cancel()
        if self._connection is not None:
            self._connection.discard()
        if self._attempt is not None:
            await self._attempt

    def _try(self) -> None:
        attempt = Deferred.fromCoroutine(self._run())
        if not attempt.called:
            self._attempt = attempt

    async def _run(self) -> None:
        error: BaseException | None = None
        try:
            await self._migrate()
            if not self._is_closed:
                self._is_done = True
                await self._opened()
        except PostgresError as wrong:
            error = _unavailable(wrong)
        except Exception as wrong:
            error = wrong
        self._attempt = None
        if self._is_closed:
            error = RegistryUnavailable()
        else:
            self._outcome("start", error and _unavailable(error))
            if isinstance(error, RegistryUnavailable):
                self._next = self._clock.callLater(RETRY_DELAY, self._try)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if error is None:
                each.callback(None)
            else:
                each.errback(error)

    async def _migrate(self) -> None:
        self._connection = await self._connect()
        try:
            await migrate(
                self._connection,
                self._migrations,
                self._now(),
                statement_timeout=self._statement_timeout,
            )
        finally:
            self._connection.discard()
            self._connection = None


def _unavailable(error: BaseException) -> RegistryUnavailable:
    """:return: *error*, or a `RegistryUnavailable` whose cause it is; the log reports the cause."""
    if isinstance(error, RegistryUnavailable):
        return error
    unavailable = RegistryUnavailable()
    unavailable.__cause__ = error
    return unavailable
