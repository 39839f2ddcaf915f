"""
A log observer whose lines are JSON objects (reference/logs, "JSON").

Twisted's own (``jsonFileLogObserver``) writes all of an event: objects of the program, and keys
that change between versions.
"""

from __future__ import annotations

import json
import time
from typing import Any, TextIO

from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, eventAsText
from zope.interface import implementer

from chatfiles.rules.log_json import json_line, log_time, short
from chatfiles.runtime.json_access_log import IS_JSON
from chatfiles.runtime.line_buffer import LineBuffer

__all__ = ["JSONLog"]


@implementer(ILogObserver)
class JSONLog:
    """
    Writes each event as one object.

    :param out: where they are written.
    :param clock: for the timer.
    :param role: ``platform`` or ``workspace``.
    :param node: the name of this machine.
    """

    def __init__(self, out: TextIO, clock: IReactorTime, role: str, node: str) -> None:
        self._lines = LineBuffer(out, clock)
        self._role = role
        self._node = node

    def __call__(self, event: LogEvent) -> None:
        """:param event: is logged."""
        if event.get(IS_JSON):
            self._lines.add(event["line"])
            return
        text = _text(event)
        if text is not None:
            level = getattr(event.get("log_level"), "name", "info")
            system = str(event.get("log_system") or event.get("log_namespace", "-"))
            moment = event.get("log_time", time.time())
            self._lines.write(f"{self._message(moment, level, system, text)}\n")

    def write(self, text: str) -> None:
        """
        :param text: complete lines of another process.  Those that are no objects, such as what the
            interpreter itself writes, become objects.
        """
        self._lines.write("".join(f"{self._object(line)}\n" for line in text.splitlines()))

    def flush(self) -> None:
        """Write the lines that wait."""
        self._lines.flush()

    def _object(self, line: str) -> str:
        return line if _is_object(line) else self._message(time.time(), "info", "-", line)

    def _message(self, moment: float, level: str, system: str, text: str) -> str:
        values: dict[str, Any] = {
            "time": log_time(moment),
            "level": level,
            "event": "log",
            "role": self._role,
            "system": short(system),
            # The end of a traceback says what happened.
            "message": short(text, end="Traceback" in text),
            "node": self._node,
        }
        return json_line(values)


def _text(event: LogEvent) -> str | None:
    """:return: the text of an event, with its traceback; ``None`` if it has none."""
    try:
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    except Exception:  # an object in the event cannot be formatted
        text = str(event.get("log_format"))
    return text or None


def _is_object(line: str) -> bool:
    if not line.startswith("{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
