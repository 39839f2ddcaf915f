"""
The members of a tar archive, in the format of GNU tar.

Names are bytes there.  GNU tar, bsdtar and BusyBox read long ones without a warning.  The newer
format (pax) needs a header that says that a name is not UTF-8: GNU tar warns of it, and BusyBox
skips it.  The headers are those of ``tarfile``, which writes them in one call.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Final

from chatfiles.streams.file_source import FileChanged
from chatfiles.workspace.archive.deflate import GzipStream
from chatfiles.workspace.archive.member import Member

__all__ = ["GzipTarWriter", "TarWriter"]

_BLOCK: Final = tarfile.BLOCKSIZE
#: What marks the end of an archive.
_END: Final = bytes(2 * _BLOCK)


class TarWriter:
    """See `chatfiles.workspace.archive.member.ArchiveWriter`."""

    def __init__(self) -> None:
        self._padding = 0

    def segment(self, name: bytes) -> bytes:
        """See `ArchiveWriter.segment`."""
        return name

    def can_hold(self, name: bytes) -> bool:
        """See `ArchiveWriter.can_hold`."""
        return True

    def directory(self, name: bytes, mtime_ns: int) -> bytes:
        """See `ArchiveWriter.directory`."""
        return _header(name, 0, mtime_ns, 0o755, tarfile.DIRTYPE)

    def begin(self, member: Member) -> bytes:
        """See `ArchiveWriter.begin`."""
        self._padding = -member.size % _BLOCK
        mode = 0o755 if member.executable else 0o644
        return _header(member.name, member.size, member.mtime_ns, mode, tarfile.REGTYPE)

    def data(self, content: bytes) -> bytes:
        """See `ArchiveWriter.data`."""
        return content

    def end(self) -> bytes:
        """See `ArchiveWriter.end`."""
        return bytes(self._padding)

    def abandon(self) -> Iterator[bytes]:
        """See `ArchiveWriter.abandon`."""
        raise FileChanged

    def finish(self) -> Iterator[bytes]:
        """See `ArchiveWriter.finish`."""
        yield _END


class GzipTarWriter(TarWriter):
    """A tar archive in a gzip file.  See `chatfiles.workspace.archive.member.ArchiveWriter`."""

    def __init__(self) -> None:
        super().__init__()
        self._gzip = GzipStream()
        self._add = self._gzip.start

    def directory(self, name: bytes, mtime_ns: int) -> bytes:
        """See `ArchiveWriter.directory`."""
        return self._gzip.compress(super().directory(name, mtime_ns))

    def begin(self, member: Member) -> bytes:
        """See `ArchiveWriter.begin`."""
        self._add = self._gzip.start
        return self._gzip.compress(super().begin(member))

    def data(self, content: bytes) -> bytes:
        """See `ArchiveWriter.data`."""
        add, self._add = self._add, self._gzip.add
        return add(content)

    def end(self) -> bytes:
        """See `ArchiveWriter.end`."""
        return self._gzip.compress(super().end())

    def finish(self) -> Iterator[bytes]:
        """See `ArchiveWriter.finish`."""
        yield self._gzip.compress(_END)
        yield self._gzip.finish()


def _header(name: bytes, size: int, mtime_ns: int, mode: int, kind: bytes) -> bytes:
    info = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
    info.size, info.mtime, info.mode = size, mtime_ns // 1_000_000_000, mode
    info.type = kind
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
