"""
Deflate streams (RFC 1951) that compress only what becomes smaller.

zlib needs one second for 30 to 50 MB that cannot be compressed, such as photos.  So the first bytes
of each file are compressed for trial, and a file that does not shrink is stored.  The blocks that
store it are made here: zlib's level 0 makes the same, at half the speed.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

__all__ = ["PIECE", "DeflateStream", "GzipStream", "longest"]

#: Bytes at the beginning of a file that decide whether it is compressed.
SAMPLE: Final = 64 * 1024
#: A file is compressed if its sample shrinks below this part of its length.
WORTHWHILE: Final = 0.9
LEVEL: Final = 1
#: The most bytes of one stored block (RFC 1951, 3.2.4).
STORED_BLOCK: Final = 65535
#: Bytes of a file that are added at once, unless these are its last: whole stored blocks.
PIECE: Final = 8 * STORED_BLOCK
_BLOCK_HEADER: Final = struct.Struct("<BHH")
_FULL_BLOCK: Final = _BLOCK_HEADER.pack(0, STORED_BLOCK, 0)
#: The last block of a stream, empty (RFC 1951, 3.2.6).
_LAST_BLOCK: Final = b"\x03\x00"

# RFC 1952, 2.3: deflate, no time, fastest, Unix.
_GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\x03"
_GZIP_TRAILER: Final = struct.Struct("<II")


def longest(size: int) -> int:
    """:return: at least the length of a stream of *size* bytes (``deflateBound`` of zlib)."""
    stored = size + -(-size // STORED_BLOCK) * len(_FULL_BLOCK) + len(_LAST_BLOCK)
    return stored + (size >> 12) + (size >> 14) + (size >> 25) + 64


class DeflateStream:
    """
    One stream.  Each method returns the bytes that follow those that were returned before.
    """

    __slots__ = ("_compressor",)

    def __init__(self) -> None:
        self._compressor: zlib._Compress | None = None  # None while bytes are stored

    def start(self, data: bytes) -> bytes:
        """
        :param data: the first bytes of a file.  At least `SAMPLE`, unless these are all.
        """
        sample = data[:SAMPLE]
        if self._compressor is not None:
            return self.add(data) if _shrinks(sample, len(_deflated(sample))) else self.store(data)
        trial = _compressor()
        begun = trial.compress(sample) + trial.flush(zlib.Z_SYNC_FLUSH)
        if not _shrinks(sample, len(begun)):
            return self.store(data)
        self._compressor = trial
        rest = data[SAMPLE:]
        return begun + self.add(rest) if rest else begun

    def add(self, data: bytes) -> bytes:
        """:param data: more bytes of the file; compressed if its first ones are."""
        if self._compressor is None:
            return _stored(data)
        return self._compressor.compress(data)

    def store(self, data: bytes) -> bytes:
        """:param data: bytes that are not compressed, like those added next."""
        ended = b""
        if self._compressor is not None:
            # A stored block begins at a whole byte.
            ended, self._compressor = self._compressor.flush(zlib.Z_SYNC_FLUSH), None
        return ended + _stored(data)

    def compress(self, data: bytes) -> bytes:
        """:param data: bytes that are compressed, like those added next."""
        if self._compressor is None:
            self._compressor = _compressor()
        return self.add(data)

    def finish(self) -> bytes:
        """There are no more bytes."""
        if self._compressor is None:
            return _LAST_BLOCK
        return self._compressor.flush()


class GzipStream:
    """
    A gzip file (RFC 1952) of files and what is between them.
    """

    def __init__(self) -> None:
        self._deflate = DeflateStream()
        self._header = _GZIP_HEADER
        self._crc = self._size = 0

    def start(self, data: bytes) -> bytes:
        """:param data: the first bytes of a file, as for `DeflateStream.start`."""
        return self._count(data) + self._deflate.start(data)

    def add(self, data: bytes) -> bytes:
        """:param data: more bytes of the file."""
        return self._count(data) + self._deflate.add(data)

    def compress(self, data: bytes) -> bytes:
        """:param data: bytes that are not of a file."""
        return self._count(data) + self._deflate.compress(data)

    def finish(self) -> bytes:
        """There are no more bytes."""
        trailer = _GZIP_TRAILER.pack(self._crc, self._size & 0xFFFFFFFF)
        return self._count(b"") + self._deflate.finish() + trailer

    def _count(self, data: bytes) -> bytes:
        """:return: the header, the first time."""
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        header, self._header = self._header, b""
        return header


def _compressor() -> zlib._Compress:
    return zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)


def _deflated(data: bytes) -> bytes:
    return zlib.compress(data, LEVEL)


def _shrinks(sample: bytes, compressed: int) -> bool:
    return compressed < WORTHWHILE * len(sample)


def _stored(data: bytes) -> bytes:
    pieces: list[bytes | memoryview] = []
    view = memoryview(data)
    for start in range(0, len(data), STORED_BLOCK):
        block = view[start : start + STORED_BLOCK]
        length = len(block)
        pieces.append(_BLOCK_HEADER.pack(0, length, length ^ 0xFFFF))
        pieces.append(block)
    return b"".join(pieces)
