"""
Removes expired uploads: at the start, and every hour.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from chatfiles.runtime.threads import Threads
from chatfiles.workspace.resumable.uploads import ResumableUploads
from chatfiles.workspace.uploads.upload_directory import UPLOAD_OWNER

__all__ = ["HourlySweep"]

#: Seconds between two sweeps.
INTERVAL: Final = 3600.0

_log = Logger()


class HourlySweep:
    """
    :param uploads: of the workspace.
    :param threads: run calls that may block.
    :param clock: runs timers.
    """

    def __init__(self, uploads: ResumableUploads, threads: Threads, clock: IReactorTime) -> None:
        self._uploads = uploads
        self._threads = threads
        self._loop = LoopingCall(self._sweep)
        self._loop.clock = clock

    def start(self) -> None:
        """Sweep now, and every hour."""
        self._loop.start(INTERVAL)

    def stop(self) -> None:
        """Sweep no more.  Idempotent."""
        if self._loop.running:
            self._loop.stop()

    def _sweep(self) -> Deferred[None]:
        swept: Deferred[int] = self._threads.run(self._uploads.sweep, owner=UPLOAD_OWNER)
        return swept.addCallbacks(_swept, _failed)


def _swept(count: int) -> None:
    if count:
        _log.info("removed {count} resumable uploads that have expired", count=count)


def _failed(failure: object) -> None:
    _log.warn("resumable uploads could not be swept: {why}", why=failure)
