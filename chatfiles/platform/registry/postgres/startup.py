"""
The way from a registry that has been started to one that can be used.
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
PAUSE = 0.5


class PostgresStartup:
    """
    Tries to reach the server and to migrate until it has.

    :param dial: connects; fails with `RegistryUnavailable`.
    :param opened: called then; the Deferred that it gives is waited for.
    :param patience: seconds for each statement of a migration.
    :param outcome: told how each attempt ended.
    """

    def __init__(
        self,
        dial: Callable[[], Deferred[PostgresConnection]],
        migrations: Sequence[Migration],
        opened: Callable[[], Deferred[None]],
        *,
        clock: IReactorTime,
        now: Callable[[], datetime],
        patience: float,
        outcome: Outcome,
    ) -> None:
        self._dial = dial
        self._migrations = migrations
        self._opened = opened
        self._clock = clock
        self._now = now
        self._patience = patience
        self._outcome = outcome
        self._done = False
        self._closed = False
        self._trying: Deferred[None] | None = None
        self._next: IDelayedCall | None = None
        self._link: PostgresConnection | None = None
        self._waiting: list[Deferred[None]] = []

    def start(self) -> Deferred[None]:
        """
        :return: how the attempt ends that is being made, or is made now.
        """
        if self._closed:
            return fail(RegistryUnavailable())
        if self._done:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        if self._next is not None and self._next.active():
            self._next.cancel()
        if self._trying is None:
            self._try()
        return waiting

    async def close(self) -> None:
        """Try no more; idempotent."""
        self._closed = True
        if self._next is not None and self._next.active():
            self._next.cancel()
        if self._link is not None:
            self._link.discard()
        if self._trying is not None:
            await self._trying

    def _try(self) -> None:
        trying = Deferred.fromCoroutine(self._attempt())
        if not trying.called:
            self._trying = trying

    async def _attempt(self) -> None:
        error: BaseException | None = None
        try:
            await self._migrate()
            if not self._closed:
                self._done = True
                await self._opened()
        except PostgresError as wrong:
            error = _unavailable(wrong)
        except Exception as wrong:
            error = wrong
        self._trying = None
        if self._closed:
            error = RegistryUnavailable()
        else:
            self._outcome("start", error and _unavailable(error))
            if isinstance(error, RegistryUnavailable):
                self._next = self._clock.callLater(PAUSE, self._try)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if error is None:
                each.callback(None)
            else:
                each.errback(error)

    async def _migrate(self) -> None:
        self._link = await self._dial()
        try:
            await migrate(self._link, self._migrations, self._now(), patience=self._patience)
        finally:
            self._link.discard()
            self._link = None


def _unavailable(error: BaseException) -> RegistryUnavailable:
    """:return: *error* as trouble that the log tells of."""
    if isinstance(error, RegistryUnavailable):
        return error
    unavailable = RegistryUnavailable()
    unavailable.__cause__ = error
    return unavailable
