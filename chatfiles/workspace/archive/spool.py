"""
Bytes that are kept until the end of an archive.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

__all__ = ["Spool"]

#: The most bytes that are read at once.
PIECE: Final = 64 * 1024


class Spool:
    """
    Bytes, compressed in memory.  The names of a folder resemble each other, so a member of a
    zip takes a tenth of what it takes otherwise, whatever the length of its path.

    :ivar size: number of bytes that were added.
    """

    __slots__ = ("_chunks", "_compressor", "size")

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(1)
        self._chunks: list[bytes] = []
        self.size = 0

    def add(self, data: bytes) -> None:
        """:param data: is kept behind what was added before."""
        self.size += len(data)
        if chunk := self._compressor.compress(data):
            self._chunks.append(chunk)

    def read(self) -> Iterator[bytes]:
        """:return: all bytes, in pieces.  Nothing can be added or read after this."""
        chunks = [*self._chunks, self._compressor.flush()]
        self._chunks.clear()
        decompressor = zlib.decompressobj()
        chunks.reverse()
        while chunks:
            waiting = chunks.pop()
            while waiting:
                yield decompressor.decompress(waiting, PIECE)
                waiting = decompressor.unconsumed_tail
