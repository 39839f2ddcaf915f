"""
Writes the lines of a log together: what a busy role logs most are transfers, and a flush of each
costs more than to format it.
"""

from __future__ import annotations

from threading import RLock
from typing import TextIO

from twisted.internet.interfaces import IReactorTime

__all__ = ["FLUSH_AFTER", "LineBuffer"]

#: Seconds that a line may wait for more lines.  A longer time would gain little.
FLUSH_AFTER = 0.01


class LineBuffer:
    """
    Writes the added lines of `FLUSH_AFTER` seconds together.  Any thread may write.

    :param out: where they are written.
    :param clock: for the timer.
    """

    def __init__(self, out: TextIO, clock: IReactorTime) -> None:
        self._out = out
        self._clock = clock
        self._lines: list[str] = []
        self.lock = RLock()

    def add(self, line: str) -> None:
        """:param line: without a line end; it is written soon, and only the reactor thread adds."""
        with self.lock:
            if not self._lines:
                self._clock.callLater(FLUSH_AFTER, self.flush)
            self._lines.append(f"{line}\n")

    def write(self, text: str) -> None:
        """:param text: complete lines, which are written now."""
        with self.lock:
            self.flush()
            self._out.write(text)
            self._out.flush()

    def flush(self) -> None:
        """Write the lines that wait."""
        with self.lock:
            if self._lines:
                lines, self._lines = self._lines, []
                self._out.write("".join(lines))
                self._out.flush()
