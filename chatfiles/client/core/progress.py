"""
Notifies the program of the progress of a transfer, at most ten times a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Callback", "Progress"]

#: Is called with the bytes that are done, and with all; ``None`` if that number is not known.
Callback = Callable[[int, int | None], object]

#: Seconds between two calls.
INTERVAL = 0.1


class Progress:
    """
    Calls the program's function.  What it raises is raised here, and ends the transfer.

    :param callback: the function, if any.
    :param clock: returns seconds that only rise.
    """

    def __init__(
        self, callback: Callback | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._callback = callback
        self._clock = clock
        self._next = float("-inf")
        self._done = 0

    def at(self, done: int, total: int | None) -> None:
        """
        *done* bytes have been transferred.  Not reported: the end, which `end` reports, and bytes
        that are transferred again.
        """
        if self._callback is None or done == total or done <= self._done:
            return
        self._done = done
        now = self._clock()
        if now >= self._next:
            self._next = now + INTERVAL
            self._callback(done, total)

    def restart(self) -> None:
        """The transfer begins from the start."""
        self._done = 0

    def end(self, done: int) -> None:
        """Everything has been transferred."""
        if self._callback is not None:
            self._callback(done, done)
