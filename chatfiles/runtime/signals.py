"""
What signals mean to a role that has been told to stop already.

Twisted would try to stop its reactor a second time, and log the traceback of that.  ``timeout`` and
supervisors that signal a process and then its group send each signal twice.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["ONE_ORDER", "StopSignals"]

#: Seconds in which a second SIGINT is taken for the first: a terminal sends Ctrl-C to everybody,
#: and who started us may hand it on besides.
ONE_ORDER = 0.5

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """
    The first SIGTERM or SIGINT is the reactor's.  Behind it, SIGTERM says nothing new, while SIGINT
    comes from somebody who does not want to wait.

    :param reactor: is going to run, and handles signals.
    :param stop_now: called when the operator does not want to wait.
    """

    def __init__(self, reactor: Any, stop_now: Callable[[], object]) -> None:
        self._reactor = reactor
        self._stop_now = stop_now
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._told = False
        reactor.callWhenRunning(self._begin)
        reactor.addSystemEventTrigger("before", "shutdown", self._stopping)

    def _begin(self) -> None:
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):  # behind ``nohup`` and ``&``, SIGINT is ignored, and so it stays
                self._handlers[number] = handler
                signal.signal(number, self._first)

    def _first(self, number: int, frame: FrameType | None) -> None:
        if self._told:  # a second one came before this one could be ignored
            return
        self._told = True
        self._ignore()
        self._handlers[number](number, frame)

    def _ignore(self) -> None:
        for number in self._handlers:
            signal.signal(number, signal.SIG_IGN)

    def _stopping(self) -> None:
        self._ignore()  # the reactor is also stopped without a signal
        if signal.SIGINT in self._handlers:
            self._reactor.callLater(ONE_ORDER, signal.signal, signal.SIGINT, self._impatient)

    def _impatient(self, number: int, frame: FrameType | None) -> None:
        self._ignore()
        self._reactor.callFromThread(self._stop_now)
