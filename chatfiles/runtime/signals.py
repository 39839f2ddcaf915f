"""
Handles signals that arrive while a role is stopping.

Without this, Twisted would try to stop its reactor again, and log a traceback.  This happens often:
``timeout`` sends each signal twice, to a process and to its group, and so do some supervisors.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["ONE_ORDER", "StopSignals"]

#: Seconds in which a second SIGINT counts as the first one.  A terminal sends Ctrl-C to all its
#: processes, and the parent process may forward it, too.
ONE_ORDER = 0.5

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """
    Passes the first SIGTERM or SIGINT to the reactor.  After that it ignores SIGTERM.  A further
    SIGINT means that the operator does not want to wait.

    :param reactor: handles signals; it is not running yet.
    :param stop_now: called for that further SIGINT, on the reactor thread.
    """

    def __init__(self, reactor: Any, stop_now: Callable[[], object]) -> None:
        self._reactor = reactor
        self._stop_now = stop_now
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._was_received = False
        reactor.callWhenRunning(self._begin)
        reactor.addSystemEventTrigger("before", "shutdown", self._stopping)

    def _begin(self) -> None:
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):  # with ``nohup`` and ``&``, SIGINT is ignored, and must stay so
                self._handlers[number] = handler
                signal.signal(number, self._first)

    def _first(self, number: int, frame: FrameType | None) -> None:
        if self._was_received:  # a second signal arrived before `_ignore` took effect
            return
        self._was_received = True
        self._ignore()
        self._handlers[number](number, frame)

    def _ignore(self) -> None:
        for number in self._handlers:
            signal.signal(number, signal.SIG_IGN)

    def _stopping(self) -> None:
        self._ignore()  # needed if the reactor was stopped without a signal
        if signal.SIGINT in self._handlers:
            self._reactor.callLater(ONE_ORDER, signal.signal, signal.SIGINT, self._second_interrupt)

    def _second_interrupt(self, number: int, frame: FrameType | None) -> None:
        self._ignore()
        self._reactor.callFromThread(self._stop_now)
