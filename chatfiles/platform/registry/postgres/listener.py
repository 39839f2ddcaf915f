"""
Listens for changes in PostgreSQL by any program.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any
from uuid import UUID

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as NotInTime
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry.outage_log import Outcome
from chatfiles.platform.registry.postgres.connection import (
    CONNECTION_ERRORS,
    PostgresConnection,
    PostgresError,
    sanitized_error,
)
from chatfiles.platform.registry.rows import stored_uuid

__all__ = ["CHANNEL", "PostgresListener"]

#: The channel of the triggers' notifications (``schema/postgresql/0002_notify.sql``), and the
#: channel for tests that notifications arrive.
CHANNEL, TEST_CHANNEL = "chatfiles_changed", "chatfiles_trial"

#: Counts the triggers that are enabled; there must be `TRIGGERS`.  A dump may have been restored
#: without them, or an operator may have disabled them for a while.
COUNT_TRIGGERS = """
    SELECT count(*) FROM pg_trigger
    WHERE tgrelid IN ('workspaces'::regclass, 'workspace_auth_tokens'::regclass,
            'chatfiles_keys'::regclass, 'workspace_channels'::regclass)
        AND tgname IN ('chatfiles_changed', 'chatfiles_truncated') AND tgenabled IN ('O', 'A')"""
TRIGGERS = 7

#: Seconds between two checks of the connection and the triggers, and seconds for each.  Their sum
#: is less than one second, because a revoked token must be refused everywhere within a second.
CHECK_INTERVAL, CHECK_TIMEOUT = 0.4, 0.4
#: Seconds between two attempts to connect.
RETRY_DELAY = 0.3

_log = Logger()


class PostgresListener:
    """
    Listens on its own connection, and connects again when the connection is lost.

    Notifications that are sent without a connection are lost.  So the listener reports ``None``
    when the connection is lost and when there is a new one; in between, `watching` is false.

    :param connect: opens a connection; fails with `RegistryUnavailable`.
    :param changed: called with the id of each workspace that has changed, or with ``None``.
    :param clock: the reactor.
    :param outcome: called with the outcome of each attempt to listen.
    :param new_id: returns a unique id.
    :ivar watching: whether every change is reported.
    """

    def __init__(
        self,
        connect: Callable[[], Deferred[PostgresConnection]],
        changed: Callable[[UUID | None], None],
        *,
        clock: IReactorTime,
        outcome: Outcome,
        new_id: Callable[[], UUID],
    ) -> None:
        self.watching = False
        self._connect = connect
        self._changed = changed
        self._new_id = new_id
        self._clock = clock
        self._outcome = outcome
        self._running: Deferred[None] | None = None
        self._starting: list[Deferred[None]] = []
        self._is_open = False
        self._interrupt: Callable[[], object] = _nothing
        self._test: tuple[str, Deferred[None]] | None = None

    def start(self) -> Deferred[None]:
        """
        Begin to listen; does nothing the second time.

        :return: fires when it listens, or when the current attempt has failed.
        """
        attempted: Deferred[None] = Deferred()
        if self.watching:
            attempted.callback(None)
            return attempted
        self._starting.append(attempted)
        if self._running is None:
            self._is_open = True
            self._running = Deferred.fromCoroutine(self._run())
        return attempted

    async def close(self) -> None:
        """Stop listening; idempotent."""
        self._is_open = False
        self._interrupt()
        if self._running is not None:
            running, self._running = self._running, None
            await running

    async def _run(self) -> None:
        while self._is_open:
            error = RegistryUnavailable()
            try:
                await self._listen(await self._connect())
            except RegistryUnavailable as unavailable:
                error = unavailable
            except CONNECTION_ERRORS as lost:
                error.__cause__ = sanitized_error(lost)
            except Exception as unexpected:
                _log.failure("listening for changes failed")
                error.__cause__ = PostgresError(f"an error of ours: {type(unexpected).__name__}")
            finally:
                self._stop_watching()
            if self._is_open:
                self._outcome("listen", error)
                self._attempt_ended()
                await self._sleep(RETRY_DELAY)
        self._attempt_ended()

    async def _listen(self, connection: PostgresConnection) -> None:
        """Listen until the connection is lost, which raises one of `CONNECTION_ERRORS`."""
        self._interrupt = connection.discard
        try:
            connection.addNotifyObserver(self._notified)
            await connection.execute(f"LISTEN {CHANNEL}; LISTEN {TEST_CHANNEL}")
            await self._check(connection)
            await self._test_delivery()
            self._outcome("listen", None)
            self.watching = True
            self._changed(None)
            self._attempt_ended()
            while self._is_open:
                await self._sleep(CHECK_INTERVAL, connection)
                await self._check(connection)
        finally:
            connection.discard()

    async def _check(self, connection: PostgresConnection) -> None:
        """Fail unless the connection works and the triggers are enabled."""
        # If the reactor was busy, the result may have arrived already: wait for another turn.
        timers = [self._clock.callLater(CHECK_TIMEOUT, lambda: timers.append(wait_once_more()))]

        def wait_once_more() -> IDelayedCall:
            return self._clock.callLater(0.05, connection.discard)

        try:
            ((enabled,),) = await connection.rows(COUNT_TRIGGERS)
        finally:
            for timer in timers:
                if timer.active():
                    timer.cancel()
        if enabled != TRIGGERS:
            raise RegistryUnavailable from PostgresError(
                "changes are not notified: triggers of chatfiles are missing or disabled"
            )

    async def _test_delivery(self) -> None:
        """Fail unless a notification of another connection arrives: a pooler may drop it."""
        payload, arrived = str(self._new_id()), Deferred[None]()
        self._test = payload, arrived
        other = await self._connect()
        try:
            values = {"channel": TEST_CHANNEL, "payload": payload}
            await other.execute("SELECT pg_notify(%(channel)s, %(payload)s)", values)
            await arrived.addTimeout(CHECK_TIMEOUT, self._clock)
        except NotInTime:
            raise RegistryUnavailable from PostgresError(
                "notifications get lost: a pooler on the way has to be in session mode"
            )
        finally:
            other.discard()

    def _notified(self, notify: Any) -> None:
        if notify.channel == CHANNEL:
            # A payload that is not an id may mean any change.
            self._changed(stored_uuid(notify.payload))
        elif self._test is not None and notify.payload == self._test[0]:
            (_, arrived), self._test = self._test, None
            if not arrived.called:
                arrived.callback(None)

    def _stop_watching(self) -> None:
        if self.watching:
            self.watching = False
            self._changed(None)

    def _attempt_ended(self) -> None:
        starting, self._starting = self._starting, []
        for each in starting:
            each.callback(None)

    async def _sleep(self, seconds: float, connection: PostgresConnection | None = None) -> None:
        """Wait for *seconds*, or until *connection* is lost or the listener is closed."""
        slept: Deferred[None] = Deferred(lambda _: timer.cancel())
        timer = self._clock.callLater(seconds, slept.callback, None)
        self._interrupt = slept.cancel
        if connection is not None:
            connection.on_lost = slept.cancel
        with contextlib.suppress(CancelledError):
            await slept
        self._interrupt = _nothing if connection is None else connection.discard
        if connection is not None:
            connection.on_lost = _nothing


def _nothing() -> None:
    """There is nothing to interrupt."""
