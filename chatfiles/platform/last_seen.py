"""
Records when tokens and workspaces were last seen: in memory at once, in the registry in batches.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from uuid import UUID

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from chatfiles.errors import ChatfilesError

__all__ = ["LastSeenBuffer"]

#: Seconds between two writes.
FLUSH_INTERVAL = 10.0
#: Entries of one batch.  The limit lets a registry that was unavailable for long take them all.
BATCH = 1000


class LastSeenBuffer(Service):
    """
    Buffers the last time of an event for each id, and writes the buffer periodically and when the
    service stops.  No request waits for a write (reference/registry, "Batched writes").  Entries
    that cannot be written yet are kept.

    :param what: what the entries are, for the log.
    :param write: writes one batch, from ids to times.  Its failure is logged once, until a write
        succeeds.
    :param clock: runs the periodic writes.
    :ivar now: returns the current time, with its time zone.
    """

    log = Logger()

    def __init__(
        self,
        what: str,
        write: Callable[[Mapping[UUID, datetime]], Awaitable[None]],
        clock: IReactorTime,
        now: Callable[[], datetime],
    ) -> None:
        self._what = what
        self._write = write
        self.now = now
        self._noted: dict[UUID, datetime] = {}
        self._failing = False
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self.flush()))
        self._loop.clock = clock

    def record(self, id_: UUID) -> None:
        """Record the current time for *id_*."""
        self._noted[id_] = self.now()

    def latest(self, id_: UUID) -> datetime | None:
        """:return: the time recorded for *id_*; ``None`` if the buffer has none."""
        return self._noted.get(id_)

    async def flush(self) -> None:
        """Write all entries recorded so far.  After a failure, the rest waits for the next call."""
        noted = list(self._noted.items())
        for first in range(0, len(noted), BATCH):
            batch = dict(noted[first : first + BATCH])
            try:
                await self._write(batch)
            except Exception as error:  # an exception that escaped would end the loop for ever
                if not self._failing:
                    self._tell(error)
                self._failing = True
                return
            self._failing = False
            for id_, moment in batch.items():
                if self._noted.get(id_) == moment:
                    del self._noted[id_]

    def _tell(self, error: Exception) -> None:
        if isinstance(error, ChatfilesError):
            self.log.warn("{what} cannot be written yet: {error}", what=self._what, error=error)
        else:
            self.log.failure("{what} cannot be written yet", what=self._what)

    def startService(self) -> None:
        """Start the periodic writes."""
        super().startService()
        self._loop.start(FLUSH_INTERVAL, now=False)

    def stopService(self) -> Deferred[None]:
        """
        Stop the periodic writes, and write once more.

        :return: fires when that write has ended.
        """
        super().stopService()
        if self._loop.running:
            self._loop.stop()
        return Deferred.fromCoroutine(self.flush())
