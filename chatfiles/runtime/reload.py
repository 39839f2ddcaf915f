"""
What a role does after SIGHUP: it reopens files, and looks at files that may have changed.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.logger import Logger

__all__ = ["Reload", "ReloadAction"]

#: One thing to do.  It may return a Deferred that fires when it is done.
ReloadAction = Callable[[], object]


class Reload:
    """
    The actions of one role after SIGHUP.  `chatfiles.runtime.log_file.LogSignals` runs them.

    :ivar begun: called before the actions of each SIGHUP.
    :ivar done: called when all of them are done.
    """

    _log = Logger()

    def __init__(self) -> None:
        self.begun: Callable[[], object] = lambda: None
        self.done: Callable[[], object] = lambda: None
        self._actions: list[ReloadAction] = []

    def add(self, action: ReloadAction) -> None:
        """
        :param action: called after each SIGHUP, on the reactor thread, in the order of `add`.  If
            it fails, the error is logged, and the other actions run all the same.
        """
        self._actions.append(action)

    def run(self) -> Deferred[None]:
        """:return: fires when all actions are done; it never fails."""
        self.begun()
        running = [maybeDeferred(action).addErrback(self._failed) for action in self._actions]
        return gatherResults(running).addCallback(lambda _: self._all_done())

    def _failed(self, failure: object) -> None:
        self._log.failure("an action after SIGHUP has failed", failure)  # type: ignore[arg-type]

    def _all_done(self) -> None:
        self.done()
