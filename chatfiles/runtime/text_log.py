"""
A log observer for the standard output.  Its lines are those of twistd, at less cost: what a busy
role logs most are transfers, and Twisted formats and flushes each line on its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TextIO

from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, formatTime, textFileLogObserver
from zope.interface import implementer

from chatfiles.http.server.access_log import READY_TEXT
from chatfiles.runtime.line_buffer import LineBuffer

__all__ = ["TextLog", "logs_to_stdout"]


@implementer(ILogObserver)
class TextLog:
    """
    Writes the ready lines of some milliseconds together, and all other events at once.

    :param out: where they are written.
    :param clock: for the timer.
    """

    def __init__(self, out: TextIO, clock: IReactorTime) -> None:
        self._lines = LineBuffer(out, clock)
        self._others = textFileLogObserver(out)
        self._second, self._stamp = 0, ""

    def __call__(self, event: LogEvent) -> None:
        """:param event: is logged."""
        if not _is_ready(event):
            self.flush()
            self._others(event)
            return
        # A line end is replaced as Twisted does: one event cannot look like two.
        line = event["line"].replace("\n", "\n\t")
        with self._lines.lock:
            second = int(event["log_time"])
            if second != self._second:
                self._second, self._stamp = second, formatTime(event["log_time"])
            self._lines.add(
                f"{self._stamp} [{event['log_namespace']}#{event['log_level'].name}] {line}"
            )

    def write(self, text: str) -> None:
        """:param text: complete lines, which are written as they are."""
        self._lines.write(text)

    def flush(self) -> None:
        """Write the lines that wait."""
        self._lines.flush()


def _is_ready(event: LogEvent) -> bool:
    """:return: whether *event* is like those of the access log."""
    if event.get("log_format") != READY_TEXT or "log_system" in event:
        return False
    return isinstance(event.get("line"), str) and event["line"] != ""


def logs_to_stdout(twistd: Mapping[str, Any]) -> bool:
    """
    :param twistd: the options of twistd.
    :return: whether it would log to the standard output.
    """
    is_a_file = twistd.get("logfile") not in (None, "", "-")
    elsewhere = is_a_file or twistd.get("logger") or twistd.get("syslog")
    return bool(twistd.get("nodaemon")) and not elsewhere
