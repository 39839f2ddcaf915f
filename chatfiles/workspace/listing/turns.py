"""
How long a listing keeps a thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["NAMES_PER_TURN", "SECONDS_PER_TURN", "Turn"]

#: After this many names, or seconds, a listing gives its thread to the next call that waits.
NAMES_PER_TURN: Final = 4096
SECONDS_PER_TURN: Final = 0.02


class Turn:
    """
    One use of a thread.  A listing yields when it is over, and begins the next one.

    :param seconds: returns seconds that only increase.
    """

    __slots__ = ("_begun", "_names", "_seconds")

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self.begin()

    def begin(self) -> None:
        """The next turn begins."""
        self._begun = self._seconds()
        self._names = 0

    def is_over(self, names: int = 1) -> bool:
        """
        :param names: how many names were read or looked at since the last call.
        :return: whether the turn is over.
        """
        self._names += names
        late = self._seconds() - self._begun >= SECONDS_PER_TURN
        return late or self._names >= NAMES_PER_TURN
