"""
Reads the manifest of an archive that passes by to standard output, and is not kept.

``tarfile`` can read such a stream.  ``zipfile`` cannot, because it begins at the end.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final

from chatfiles.cli.transfers.archive.manifest import Manifest, checked_manifest
from chatfiles.client.local.archive_manifest import LIMIT, MANIFEST, tar_member

__all__ = ["passing_manifest"]

# The local header of a zip's member (APPNOTE.TXT 4.3.7), and what follows its bytes (4.3.9).
_LOCAL: Final = struct.Struct("<4sHHHHHLLLHH")
_SIGNATURE: Final = b"PK\x03\x04"
_HAS_DESCRIPTOR: Final = 1 << 3
_CRC: Final = struct.Struct("<4xL")
_DESCRIPTOR, _DESCRIPTOR_ZIP64 = 16, 24
_STORED, _DEFLATED = 0, 8
_PIECE: Final = 64 * 1024


def passing_manifest(pieces: Iterator[bytes], form: str) -> Manifest:
    """
    :param pieces: the bytes of the archive; all of them are taken, whatever they are.
    :param form: ``zip``, ``tar`` or ``tar.gz``.
    :return: the manifest.
    :raise CliError: there is none, it contradicts the archive, or the archive is malformed.
    :raise Exception: whatever *pieces* has raised.
    """
    stream = _Stream(pieces)
    try:
        return checked_manifest(lambda: _member(stream, form))
    finally:
        stream.take_all()


def _member(stream: _Stream, form: str) -> tuple[bytes, int]:
    return _zip_member(stream) if form == "zip" else tar_member(stream, form, "r|")


class _Stream:
    """Pieces as a file, for readers that only need ``read``."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""
        self._error: BaseException | None = None

    def read(self, size: int) -> bytes:
        """:return: at most *size* bytes; none at the end."""
        while not self._rest:
            try:
                self._rest = next(self._pieces)
            except StopIteration:
                return b""
            except BaseException as error:
                self._error = error
                raise
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def exactly(self, size: int) -> bytes:
        """
        :return: the next bytes.
        :raise ValueError: there are fewer.
        """
        data = self.read(size)
        while len(data) < size:
            if not (more := self.read(size - len(data))):
                raise ValueError("the archive is too short")
            data += more
        return data

    def put_back(self, data: bytes) -> None:
        """:param data: is read next."""
        self._rest = data + self._rest

    def take_all(self) -> None:
        """Take what is left; raises again what the pieces have raised."""
        if self._error is not None:
            raise self._error
        for _ in self._pieces:
            pass


def _zip_member(stream: _Stream) -> tuple[bytes, int]:
    """:return: the manifest, and the number of other members whose checksum is right."""
    count = 0
    while True:
        head: tuple[Any, ...] = _LOCAL.unpack(stream.exactly(_LOCAL.size))
        signature, _, flags, method, _, _, crc, _, size, name_size, extra_size = head
        if signature != _SIGNATURE:
            raise KeyError(MANIFEST)
        name = stream.exactly(name_size).decode("utf-8", "replace")
        is_zip64 = stream.exactly(extra_size) and size == 0xFFFFFFFF
        content = _Content(LIMIT if name == MANIFEST else 0)
        if method == _DEFLATED:
            content.inflate(stream)
        elif size:
            raise ValueError("a member that is not deflated")
        if flags & _HAS_DESCRIPTOR:
            descriptor = stream.exactly(_DESCRIPTOR_ZIP64 if is_zip64 else _DESCRIPTOR)
            (crc,) = _CRC.unpack_from(descriptor)
        if name == MANIFEST:
            return bytes(content.kept), count
        count += crc == content.crc  # a file that has changed has a wrong one, on purpose


class _Content:
    """
    The bytes of a member.

    :param limit: how many of them are kept, if any; more are an error then.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.kept = bytearray()
        self.crc = 0

    def inflate(self, stream: _Stream) -> None:
        """Take a deflated member from *stream*, with memory that does not depend on its size."""
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        while not inflater.eof:
            data = inflater.unconsumed_tail or stream.read(_PIECE)
            if not data:
                raise ValueError("the archive is too short")
            self._add(inflater.decompress(data, 16 * _PIECE))
        stream.put_back(inflater.unused_data)

    def _add(self, data: bytes) -> None:
        self.crc = zlib.crc32(data, self.crc)
        if self._limit:
            self.kept += data
            if len(self.kept) > self._limit:
                raise ValueError("the manifest is too long")
