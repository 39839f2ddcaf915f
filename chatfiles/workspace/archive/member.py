"""
A member of an archive, and the interface of the formats.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

__all__ = ["ArchiveWriter", "Member"]


@dataclass(frozen=True, slots=True)
class Member:
    """
    A file of an archive.

    :param name: its name in the archive, bytes.
    :param size: in bytes; exactly so many are added.
    :param mtime_ns: its modification time, in nanoseconds since the epoch.
    :param executable: whether its owner may execute it.
    """

    name: bytes
    size: int
    mtime_ns: int
    executable: bool = False


class ArchiveWriter(Protocol):
    """
    Makes the bytes of an archive.  Each method returns the bytes that follow those that were
    returned before.  A file is `begin`, `data` until all its bytes were added, and `end`.
    """

    def segment(self, name: bytes, /) -> bytes:
        """
        :param name: the name of a file or directory.
        :return: the name as it is written in the archive.
        """

    def can_hold(self, name: bytes, /) -> bool:
        """:return: whether *name*, of a whole member, is short enough for the format."""

    def directory(self, name: bytes, mtime_ns: int, /) -> bytes:
        """
        :param name: of the directory, without a slash at the end.
        :param mtime_ns: its modification time, in nanoseconds since the epoch.
        """

    def begin(self, member: Member, /) -> bytes:
        """:param member: the file that follows."""

    def data(self, content: bytes, /) -> bytes:
        """
        :param content: the next bytes of the file, not empty; as many as
            `chatfiles.workspace.archive.deflate.PIECE`, unless they are the last.
        """

    def end(self) -> bytes:
        """All bytes of the file were added."""

    def abandon(self) -> Iterator[bytes]:
        """
        The file has changed, so the rest of it cannot be added.

        :return: an end of the member after which no reader takes it for complete.
        :raise FileChanged: the format has no such end.
        """

    def finish(self) -> Iterator[bytes]:
        """There are no more members."""
