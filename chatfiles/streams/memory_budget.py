"""
A limit of memory that all transfers of one kind share.
"""

from __future__ import annotations

from chatfiles.streams.transports import SMALL_READ

__all__ = ["PIECE", "MemoryBudget"]

#: The most bytes that one transfer holds at a time, while there are few transfers, by default.
PIECE = 1 << 20
#: The most bytes of all transfers together: slow clients make a role hold them.
_ALL = 16 * PIECE


class MemoryBudget:
    """
    Divides a limit of memory among transfers.

    :param most: the most bytes that one transfer holds, while there are few.
    :ivar size: bytes that each transfer should hold now, at most.
    """

    def __init__(self, most: int = PIECE) -> None:
        self.size = self._most = most
        self._transfers = 0

    def change(self, by: int) -> None:
        """
        Change the number of transfers.

        :param by: 1 when a transfer begins, -1 when it ends.
        """
        self._transfers += by
        self.size = max(SMALL_READ, min(self._most, _ALL // max(1, self._transfers)))
