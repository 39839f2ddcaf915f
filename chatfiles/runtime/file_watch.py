"""
Looks at files again and again, in a thread, because a disk may hang.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from chatfiles.runtime.threads import Threads

__all__ = ["INTERVAL", "FileWatch"]

#: Seconds between two looks, by default.
INTERVAL: Final = 10.0


class FileWatch:
    """
    :param reactor: provides ``IReactorTime`` and ``IReactorFromThreads``.
    :param look: reads the files, in a thread.
    :param interval: seconds between two looks.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, look: Callable[[], object], interval: float = INTERVAL
    ) -> None:
        self._threads = Threads(reactor, "chatfiles-watch", 1, abandon=True)
        self._look = look
        self._interval = interval
        self._loop = LoopingCall(self.look_now)
        self._loop.clock = reactor

    def start(self) -> None:
        """Look again and again; the first time after one interval."""
        self._threads.start()
        self._loop.start(self._interval, now=False)

    def stop(self) -> None:
        """Stop to look.  A look that hangs is abandoned."""
        if self._loop.running:
            self._loop.stop()
            self._threads.stop()

    def look_now(self) -> Deferred[None]:
        """
        :return: fires when the files have been looked at; at once before `start` and after `stop`.
            It never fails.
        """
        if not self._loop.running:
            return succeed(None)
        looked: Deferred[Any] = self._threads.run(self._look)
        return looked.addErrback(lambda failure: self._log.failure("cannot look at files", failure))
