"""
When each of many things last happened: noted at once, written in batches.
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

#: Seconds between two writings.
FLUSH_INTERVAL = 10.0
#: Moments that are written at once, so that a registry that was away for long can take them all.
BATCH = 1000


class LastSeenBuffer(Service):
    """
    Notes moments, and writes them now and then and at the end: never in a request's way
    (reference/registry, "Batched writes").  What cannot be written yet is kept.

    :param what: what they are, for the log.
    :param write: takes some of them; what it fails with is logged, once until it succeeds.
    :param now: gives the aware time.
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
        self._now = now
        self._noted: dict[UUID, datetime] = {}
        self._failing = False
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self.flush()))
        self._loop.clock = clock

    def record(self, id_: UUID) -> None:
        """It has just happened to what has this id."""
        self._noted[id_] = self._now()

    def latest(self, id_: UUID) -> datetime | None:
        """:return: the moment noted for this id, if it may not have been written yet."""
        return self._noted.get(id_)

    async def flush(self) -> None:
        """Write all that has been noted so far; after a failure the rest is left for later."""
        noted = list(self._noted.items())
        for first in range(0, len(noted), BATCH):
            batch = dict(noted[first : first + BATCH])
            try:
                await self._write(batch)
            except Exception as error:  # anything that got out would end the loop for good
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
        """Begin to write."""
        super().startService()
        self._loop.start(FLUSH_INTERVAL, now=False)

    def stopService(self) -> Deferred[None]:
        """Write a last time."""
        super().stopService()
        if self._loop.running:
            self._loop.stop()
        return Deferred.fromCoroutine(self.flush())
