"""
Hearing of changes in PostgreSQL, whoever makes them.
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
    LINK_ERRORS,
    PostgresConnection,
    PostgresError,
    described,
)
from chatfiles.platform.registry.rows import uuid_of

__all__ = ["CHANNEL", "PostgresListener"]

#: Where the triggers tell (``schema/postgresql/0002_notify.sql``), and where we try whether what is
#: told comes through.
CHANNEL, TRIAL = "chatfiles_changed", "chatfiles_trial"

#: How many triggers tell of changes now, of `TRIGGERS`.  A dump may have come without them, or
#: somebody may have disabled them for a while.
TELLING = """
    SELECT count(*) FROM pg_trigger
    WHERE tgrelid IN ('workspaces'::regclass, 'workspace_auth_tokens'::regclass)
        AND tgname IN ('chatfiles_changed', 'chatfiles_truncated') AND tgenabled IN ('O', 'A')"""
TRIGGERS = 4

#: Seconds between two proofs that the connection still carries something, and that the triggers are
#: there.  With `PROOF` it is less than the second in which a revoked token is refused everywhere.
INTERVAL = 0.4
#: Seconds in which such a proof comes.
PROOF = 0.4
#: Seconds between two attempts to connect.
PAUSE = 0.3

_log = Logger()


class PostgresListener:
    """
    Listens on a connection of its own, and connects again when it is lost.

    What is notified while there is none is lost, so that ``None`` is told when it is lost and when
    there is one again; between these, `watching` is false.

    :param dial: connects; fails with `RegistryUnavailable`.
    :param heard: called with the id of each workspace that has changed, or ``None``.
    :param outcome: told how each attempt to listen ended.
    :param new_id: gives a word that nobody else says.
    """

    def __init__(
        self,
        dial: Callable[[], Deferred[PostgresConnection]],
        heard: Callable[[UUID | None], None],
        *,
        clock: IReactorTime,
        outcome: Outcome,
        new_id: Callable[[], UUID],
    ) -> None:
        self.watching = False
        self._dial = dial
        self._heard = heard
        self._new_id = new_id
        self._clock = clock
        self._outcome = outcome
        self._running: Deferred[None] | None = None
        self._first: list[Deferred[None]] = []
        self._open = False
        self._end: Callable[[], object] = _nothing
        self._trial: tuple[str, Deferred[None]] | None = None

    def start(self) -> Deferred[None]:
        """
        Begin to listen; does nothing the second time.

        :return: fires when it listens, or when the attempt that is being made has failed.
        """
        tried: Deferred[None] = Deferred()
        if self.watching:
            tried.callback(None)
            return tried
        self._first.append(tried)
        if self._running is None:
            self._open = True
            self._running = Deferred.fromCoroutine(self._run())
        return tried

    async def close(self) -> None:
        """Listen no more; idempotent."""
        self._open = False
        self._end()
        if self._running is not None:
            running, self._running = self._running, None
            await running

    async def _run(self) -> None:
        while self._open:
            error = RegistryUnavailable()
            try:
                await self._listen(await self._dial())
            except RegistryUnavailable as unavailable:
                error = unavailable
            except LINK_ERRORS as lost:
                error.__cause__ = described(lost)
            except Exception as unexpected:
                _log.failure("listening for changes failed")
                error.__cause__ = PostgresError(f"an error of ours: {type(unexpected).__name__}")
            finally:
                self._lost()
            if self._open:
                self._outcome("listen", error)
                self._tried()
                await self._sleep(PAUSE)
        self._tried()

    async def _listen(self, link: PostgresConnection) -> None:
        """Until the connection is lost, which raises one of `LINK_ERRORS`."""
        self._end = link.discard
        try:
            link.addNotifyObserver(self._notified)
            await link.execute(f"LISTEN {CHANNEL}; LISTEN {TRIAL}")
            await self._prove(link)
            await self._hear()
            self._outcome("listen", None)
            self.watching = True
            self._heard(None)
            self._tried()
            while self._open:
                await self._sleep(INTERVAL, link)
                await self._prove(link)
        finally:
            link.discard()

    async def _prove(self, link: PostgresConnection) -> None:
        """Fail unless the connection carries something, there and back, and changes are told."""
        # If the reactor was held up, the answer may be there already: it gets another turn.
        late = [self._clock.callLater(PROOF, lambda: late.append(again()))]

        def again() -> IDelayedCall:
            return self._clock.callLater(0.05, link.discard)

        try:
            ((telling,),) = await link.rows(TELLING)
        finally:
            for each in late:
                if each.active():
                    each.cancel()
        if telling != TRIGGERS:
            raise RegistryUnavailable from PostgresError(
                "nobody tells of changes: triggers of chatfiles are missing or disabled"
            )

    async def _hear(self) -> None:
        """Fail unless what another connection says is heard: a pooler between may swallow it."""
        word, heard = str(self._new_id()), Deferred[None]()
        self._trial = word, heard
        other = await self._dial()
        try:
            values = {"channel": TRIAL, "word": word}
            await other.execute("SELECT pg_notify(%(channel)s, %(word)s)", values)
            await heard.addTimeout(PROOF, self._clock)
        except NotInTime:
            raise RegistryUnavailable from PostgresError(
                "notifications get lost: a pooler on the way has to be in session mode"
            )
        finally:
            other.discard()

    def _notified(self, notify: Any) -> None:
        if notify.channel == CHANNEL:
            # Anything that is no id may mean anything.
            self._heard(uuid_of(notify.payload))
        elif self._trial is not None and notify.payload == self._trial[0]:
            (_, heard), self._trial = self._trial, None
            if not heard.called:
                heard.callback(None)

    def _lost(self) -> None:
        if self.watching:
            self.watching = False
            self._heard(None)

    def _tried(self) -> None:
        waiting, self._first = self._first, []
        for each in waiting:
            each.callback(None)

    async def _sleep(self, seconds: float, link: PostgresConnection | None = None) -> None:
        """Until then, or until *link* is lost, or all is to end."""
        slept: Deferred[None] = Deferred(lambda _: timer.cancel())
        timer = self._clock.callLater(seconds, slept.callback, None)
        self._end = slept.cancel
        if link is not None:
            link.lost = slept.cancel
        with contextlib.suppress(CancelledError):
            await slept
        self._end = _nothing if link is None else link.discard
        if link is not None:
            link.lost = _nothing


def _nothing() -> None:
    """There is nothing to end, or it tells by itself."""
