"""
Pure: how long to wait after attempts that failed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["Backoff"]

#: Seconds: the longest wait after the first failure, and after many.
FIRST: Final = 0.5
LAST: Final = 30.0


class Backoff:
    """
    Random delays, so that not all workspaces come at once when a platform is back ("full jitter").

    :param random: returns a number from 0 up to 1.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._failures = 0

    def next(self) -> float:
        """
        An attempt has failed.

        :return: seconds to wait.
        """
        longest = min(LAST, FIRST * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return longest * self._random()

    def reset(self) -> None:
        """The platform can be reached: the next delay is a short one again."""
        self._failures = 0
