"""
The members of a zip archive, written without seeking (APPNOTE.TXT 6.3.10 of PKWARE).

Every file is deflated, also where nothing is compressed, and its length follows it in a data
descriptor.  Java and other readers of streams refuse stored files with a descriptor.
"""

from __future__ import annotations

import re
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from chatfiles.workspace.archive.deflate import DeflateStream, longest
from chatfiles.workspace.archive.member import Member
from chatfiles.workspace.archive.spool import Spool

__all__ = ["ZipWriter", "escaped"]

#: Values from which a field says that the zip64 fields have the value (4.3.9.2, 4.4.1.4).
FULL_32: Final = 0xFFFFFFFF
FULL_16: Final = 0xFFFF
#: The most bytes of a member's name (4.4.10).
MAX_NAME: Final = 65535

_UNIX: Final = 3  # 4.4.2.2
_VERSION, _VERSION_ZIP64 = 20, 45  # 4.4.3.2
_DESCRIPTOR, _UTF_8 = 1 << 3, 1 << 11  # 4.4.4
_STORED, _DEFLATED = 0, 8  # 4.4.5
_MSDOS_DIRECTORY: Final = 0x10
_FILE, _EXECUTABLE, _DIRECTORY = 0o100644, 0o100755, 0o040755

_LOCAL: Final = struct.Struct("<4sHHHHHLLLHH")  # 4.3.7
_CENTRAL: Final = struct.Struct("<4sBBHHHHHLLLHHHHHLL")  # 4.3.12
_TRAILER: Final = struct.Struct("<4sLLL")  # 4.3.9
_TRAILER_ZIP64: Final = struct.Struct("<4sLQQ")
_END: Final = struct.Struct("<4sHHHHLLH")  # 4.3.16
_END_ZIP64: Final = struct.Struct("<4sQBBHLLQQQQ")  # 4.3.14
_LOCATOR: Final = struct.Struct("<4sLQL")  # 4.3.15
_MTIME: Final = struct.Struct("<HHBl")  # extended timestamp of Info-ZIP: the mtime alone
_SIZES: Final = struct.Struct("<HHQQ")  # 4.5.3

# 1980 to 2107, in seconds since the epoch: the times that DOS knows.
_FIRST_TIME, _LAST_TIME = 315532800, 4354819198
_ZEROS: Final = bytes(256 * 1024)
_WANTS_ESCAPE: Final = re.compile("[\x00-\x1f\x7f-\x9f\\\\\udc80-\udcff]")
_ESCAPED: Final = re.compile("[\x00-\x1f\x7f-\x9f\\\\\udc80-\udcff%]")


def escaped(name: bytes) -> bytes:
    """
    :param name: of a file or directory.
    :return: the name in UTF-8.  Each byte of a control character or of a backslash, and each byte
        that is not UTF-8, is ``%XX``; in a name that has one of them, a ``%`` too.
    """
    if name.isascii() and b"\\" not in name and name.decode("ascii").isprintable():
        return name
    text = name.decode("utf-8", "surrogateescape")
    return _ESCAPED.sub(_escape, text).encode("utf-8") if _WANTS_ESCAPE.search(text) else name


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogateescape"))


@dataclass(slots=True)
class _Entry:
    """
    What the central directory says about a member.

    :param zip64: whether its sizes have 64 bits.  This is decided before its first byte.
    """

    name: bytes
    mode: int
    mtime: int
    offset: int
    method: int
    zip64: bool = False
    crc: int = 0
    compressed: int = 0
    size: int = 0

    def local_header(self) -> bytes:
        extra = self._timestamp()
        if self.zip64:
            extra += _SIZES.pack(1, 16, 0, 0)
        size = FULL_32 if self.zip64 else 0
        head = _LOCAL.pack(
            b"PK\x03\x04", *self._common(self.zip64), 0, size, size, len(self.name), len(extra)
        )
        return head + self.name + extra

    def descriptor(self) -> bytes:
        layout = _TRAILER_ZIP64 if self.zip64 else _TRAILER
        return layout.pack(b"PK\x07\x08", self.crc, self.compressed, self.size)

    def central_header(self) -> bytes:
        wide = [self.size, self.compressed] if self.zip64 else []
        compressed, size = (FULL_32, FULL_32) if self.zip64 else (self.compressed, self.size)
        offset = min(self.offset, FULL_32)
        if offset == FULL_32:
            wide.append(self.offset)
        extra = self._timestamp()
        if wide:
            extra += struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide)
        version, *rest = self._common(bool(wide))
        attributes = self.mode << 16 | (_MSDOS_DIRECTORY if self.mode == _DIRECTORY else 0)
        head = _CENTRAL.pack(
            *(b"PK\x01\x02", version, _UNIX, version, *rest, self.crc, compressed, size),
            *(len(self.name), len(extra), 0, 0, 0, attributes, offset),
        )
        return head + self.name + extra

    def _common(self, zip64: bool) -> tuple[int, int, int, int, int]:
        """:return: version, flags, method, time and date, as both headers have them."""
        flags = 0 if self.method == _STORED else _DESCRIPTOR
        if not self.name.isascii():
            flags |= _UTF_8
        version = _VERSION_ZIP64 if zip64 else _VERSION
        return version, flags, self.method, *_dos_time(self.mtime)

    def _timestamp(self) -> bytes:
        if not -(1 << 31) <= self.mtime < 1 << 31:
            return b""
        return _MTIME.pack(0x5455, 5, 1, self.mtime)


class ZipWriter:
    """
    See `chatfiles.workspace.archive.member.ArchiveWriter`.

    A file that has changed is filled with zeros.  The central directory does not contain it, and
    the checksum that follows it is wrong on purpose, for readers that do not use that directory.

    :param offset: number of bytes before the archive in its file.
    """

    def __init__(self, offset: int = 0) -> None:
        self._offset = offset
        self._count = 0
        self._central = Spool()
        self._deflate = DeflateStream()
        self._entry: _Entry | None = None
        self._missing = 0

    def segment(self, name: bytes) -> bytes:
        """See `ArchiveWriter.segment`."""
        return escaped(name)

    def can_hold(self, name: bytes) -> bool:
        """See `ArchiveWriter.can_hold`."""
        return len(name) < MAX_NAME  # a directory gets a slash

    def directory(self, name: bytes, mtime_ns: int) -> bytes:
        """See `ArchiveWriter.directory`."""
        mtime = mtime_ns // 1_000_000_000
        entry = _Entry(name + b"/", _DIRECTORY, mtime, self._offset, _STORED)
        self._list(entry)
        return self._sent(entry.local_header())

    def begin(self, member: Member) -> bytes:
        """See `ArchiveWriter.begin`."""
        size = member.size
        self._deflate = DeflateStream()
        self._missing = size
        self._entry = _Entry(
            name=member.name,
            mode=_EXECUTABLE if member.executable else _FILE,
            mtime=member.mtime_ns // 1_000_000_000,
            offset=self._offset,
            method=_DEFLATED,
            zip64=longest(size) >= FULL_32,
        )
        return self._sent(self._entry.local_header())

    def data(self, content: bytes) -> bytes:
        """See `ArchiveWriter.data`."""
        entry = self._begun
        add = self._deflate.add if entry.size else self._deflate.start
        return self._deflated(content, add(content))

    def end(self) -> bytes:
        """See `ArchiveWriter.end`."""
        entry, last = self._begun, self._deflate.finish()
        entry.compressed += len(last)
        self._entry = None
        self._list(entry)
        return self._sent(last + entry.descriptor())

    def abandon(self) -> Iterator[bytes]:
        """See `ArchiveWriter.abandon`."""
        entry = self._begun
        while self._missing:
            zeros = _ZEROS[: self._missing]
            yield self._deflated(zeros, self._deflate.compress(zeros))
        last = self._deflate.finish()
        entry.compressed += len(last)
        entry.crc ^= FULL_32
        self._entry = None
        yield self._sent(last + entry.descriptor())

    def finish(self) -> Iterator[bytes]:
        """See `ArchiveWriter.finish`."""
        start, size, count = self._offset, self._central.size, self._count
        yield from self._central.read()
        if count >= FULL_16 or size >= FULL_32 or start >= FULL_32:
            yield _END_ZIP64.pack(
                *(b"PK\x06\x06", _END_ZIP64.size - 12, _VERSION_ZIP64, _UNIX, _VERSION_ZIP64, 0, 0),
                *(count, count, size, start),
            )
            yield _LOCATOR.pack(b"PK\x06\x07", 0, start + size, 1)
        count = min(count, FULL_16)
        size, start = min(size, FULL_32), min(start, FULL_32)
        yield _END.pack(b"PK\x05\x06", 0, 0, count, count, size, start, 0)

    @property
    def _begun(self) -> _Entry:
        if self._entry is None:
            raise ValueError("no file was begun")
        return self._entry

    def _deflated(self, content: bytes, compressed: bytes) -> bytes:
        entry = self._begun
        entry.crc = zlib.crc32(content, entry.crc)
        entry.size += len(content)
        entry.compressed += len(compressed)
        self._missing -= len(content)
        return self._sent(compressed)

    def _list(self, entry: _Entry) -> None:
        self._count += 1
        self._central.add(entry.central_header())

    def _sent(self, data: bytes) -> bytes:
        self._offset += len(data)
        return data


def _dos_time(seconds: int) -> tuple[int, int]:
    """:return: time and date in the form of DOS (4.4.6), in UTC."""
    now = time.gmtime(min(max(seconds, _FIRST_TIME), _LAST_TIME))
    clock = now.tm_hour << 11 | now.tm_min << 5 | now.tm_sec >> 1
    return clock, (now.tm_year - 1980) << 9 | now.tm_mon << 5 | now.tm_mday
