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
#: How many names are kept, found and dropped together.
BLOCK: Final = 2048
#: The most blocks that are kept, and the most bytes of their names.
MOST_BLOCKS: Final = 256
MOST_BYTES: Final = 16 << 20
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


class _Block(NamedTuple):
    last: bytes
    is_last: bool
    packed: bytes


class KnownNames:
    """
    Keeps the names that were used last, in at most 16 MiB.  Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._blocks: dict[tuple[Version, bytes], _Block] = {}  # by where each begins; oldest first
        self._bytes = 0

    def keep(self, version: Version, found: Names) -> None:
        """
        :param version: of the directory, before its names were read.
        :param found: the smallest of all names that are not hidden.
        """
        after, names = found.after, found.names
        for start in range(0, len(names), BLOCK):
            block = names[start : start + BLOCK]
            is_last = found.is_last and start + BLOCK >= len(names)
            with self._lock:
                self._put((version, after), _Block(block[-1], is_last, _SEPARATOR.join(block)))
            after = block[-1]

    def behind(self, version: Version, after: bytes) -> Names | None:
        """
        :param version: of the directory, now.
        :param after: a name.
        :return: the next names behind it, at least one or all; ``None`` if they are not known.
        """
        with self._lock:
            for key, block in self._blocks.items():
                start_version, start = key
                reaches = block.is_last or after < block.last
                if start_version == version and start <= after and reaches:
                    self._put(key, block)
                    break
            else:
                return None
        names = block.packed.split(_SEPARATOR)
        return Names(after, names[bisect_right(names, after) :], block.is_last)

    def _put(self, key: tuple[Version, bytes], block: _Block) -> None:
        """Keep a block as the one that was used last."""
        if key in self._blocks:
            self._drop(key)
        self._blocks[key] = block
        self._bytes += len(block.packed)
        while len(self._blocks) > MOST_BLOCKS or self._bytes > MOST_BYTES:
            self._drop(next(iter(self._blocks)))

    def _drop(self, key: tuple[Version, bytes]) -> None:
        self._bytes -= len(self._blocks.pop(key).packed)
