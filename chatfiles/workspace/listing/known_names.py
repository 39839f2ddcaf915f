"""
The names of large directories, kept for the next pages.

A page needs the smallest names behind its cursor, and reads all names to find them.  If the
directory does not change, the next page would read the same names.  So a page keeps more of them
than it needs.

A change of a directory changes its modification time.  Two changes within one tick of the kernel's
clock leave the same time, so only names of a directory that has not changed for two seconds are
kept.  If it changes while they are read, it never has the version again under which they are kept.
What lies at a name is looked at for each page.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from threading import Lock
from typing import Final, NamedTuple

from chatfiles.posix.filesystems import is_on_disk
from chatfiles.workspace.files.open_directory import OpenDirectory

__all__ = ["READ_AHEAD", "KnownNames", "Names", "Version", "settled_version"]

#: The most names that a page keeps for the next ones.
READ_AHEAD: Final = 32 * 1024
#: The most ranges of names that are kept, and the most bytes of one: 16 MiB together.
MOST_RANGES: Final = 16
MOST_BYTES: Final = 1 << 20
#: Nanoseconds without a change after which a directory is settled.
SETTLED_NS: Final = 2_000_000_000
#: No name has it.
_SEPARATOR: Final = b"/"


class Version(NamedTuple):
    """
    One version of the names in a directory.

    :param path: the virtual path of the directory: which names are hidden depends on it.
    """

    path: bytes
    device: int
    inode: int
    mtime_ns: int
    ctime_ns: int


def settled_version(directory: OpenDirectory, now_ns: int) -> Version | None:
    """
    :param directory: is looked at.  Blocks.
    :param now_ns: nanoseconds since the epoch.
    :return: its version; ``None`` if it has just changed, if its file system is not on a disk of
        this machine (another machine may change it, and has another clock), or after an I/O error.
    """
    try:
        facts = os.fstat(directory.fd)
    except OSError:
        return None
    age_ns = now_ns - max(facts.st_mtime_ns, facts.st_ctime_ns)
    if age_ns < SETTLED_NS or not is_on_disk(directory.fd):
        return None
    inode = facts.st_dev, facts.st_ino
    return Version(directory.path.raw, *inode, facts.st_mtime_ns, facts.st_ctime_ns)


class Names(NamedTuple):
    """
    The smallest names behind a name.

    :param after: that name; empty for the beginning.
    :param names: sorted.
    :param is_last: whether there are no others behind *after*.
    """

    after: bytes
    names: list[bytes]
    is_last: bool


class _Range(NamedTuple):
    last: bytes
    is_last: bool
    packed: bytes


class KnownNames:
    """
    Keeps the names that were used last, in at most 16 MiB.  Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._ranges: dict[tuple[Version, bytes], _Range] = {}  # by where each begins; oldest first

    def keep(self, version: Version, found: Names) -> None:
        """
        :param version: of the directory, before its names were read.
        :param found: the smallest of all names that are not hidden.
        """
        if names := _that_fit(found.names):
            is_last = found.is_last and len(names) == len(found.names)
            kept = _Range(names[-1], is_last, _SEPARATOR.join(names))
            with self._lock:
                self._use((version, found.after), kept)
                if len(self._ranges) > MOST_RANGES:
                    del self._ranges[next(iter(self._ranges))]

    def behind(self, version: Version, after: bytes) -> Names | None:
        """
        :param version: of the directory, now.
        :param after: a name.
        :return: the next names behind it, at least one or all; ``None`` if they are not known.
        """
        with self._lock:
            for key, kept in self._ranges.items():
                start_version, start = key
                reaches = kept.is_last or after < kept.last
                if start_version == version and start <= after and reaches:
                    self._use(key, kept)
                    break
            else:
                return None
        names = kept.packed.split(_SEPARATOR)
        return Names(after, names[bisect_right(names, after) :], kept.is_last)

    def _use(self, key: tuple[Version, bytes], kept: _Range) -> None:
        self._ranges.pop(key, None)
        self._ranges[key] = kept


def _that_fit(names: list[bytes]) -> list[bytes]:
    """:return: the first of them, without those beyond `MOST_BYTES`."""
    size = 0
    for count, name in enumerate(names):
        size += len(name) + 1
        if size > MOST_BYTES:
            return names[:count]
    return names
