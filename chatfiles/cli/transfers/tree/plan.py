"""
What a tree consists of: its directories and files, in a temporary file.

The listing is read to its end before the first file is fetched, because a workspace ends a listing
that is not read for some time.  So the size of the whole tree is known, and memory does not depend
on the number of files.
"""

from __future__ import annotations

import json
import os
import threading
from array import array
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from tempfile import SpooledTemporaryFile
from typing import Self

from chatfiles.cli.listing.entry import Entry

__all__ = ["Item", "Plan"]

#: Bytes of a plan that are kept in memory; a longer one is written to a temporary file.
IN_MEMORY = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Item:
    """
    One file or directory.

    :param path: its path below the tree, segments joined by slashes.
    :param size: bytes of a file; 0 for a directory.
    :param mtime_ns: see `Entry`.
    :param mode: its permission bits, without setuid, setgid and sticky; ``None`` if not known.
    :param etag: see `Entry`.
    """

    path: bytes
    size: int
    mtime_ns: int | None
    mode: int | None
    etag: str | None

    @property
    def segments(self) -> list[bytes]:
        """The segments of the path."""
        return self.path.split(b"/")

    @classmethod
    def of(cls, entry: Entry, path: bytes) -> Self:
        """:return: the item of *entry*, which is at *path* below the tree."""
        mode = None if entry.mode is None else entry.mode & 0o777
        return cls(path, entry.size or 0, entry.mtime_ns, mode, entry.etag)


class _Spool:
    """Items in a temporary file, in the order in which they were added."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - `close` closes it
        self._offsets = array("Q")

    def __len__(self) -> int:
        return len(self._offsets)

    def add(self, item: Item) -> None:
        self._offsets.append(self._file.seek(0, os.SEEK_END))
        path, *rest = astuple(item)
        self._file.write(json.dumps([path.decode("latin-1"), *rest]).encode("ascii") + b"\n")

    def read(self, number: int) -> Item:
        self._file.seek(self._offsets[number])
        path, *rest = json.loads(self._file.readline())
        return Item(path.encode("latin-1"), *rest)

    def close(self) -> None:
        self._file.close()


class Plan:
    """
    The directories and files of a tree.  As a context manager, it removes its temporary files at
    the end.

    :ivar size: bytes of all files.
    """

    def __init__(self) -> None:
        self.size = 0
        self._directories = _Spool()
        self._files = _Spool()
        self._next = 0
        self._lock = threading.Lock()

    def add(self, entry: Entry, path: bytes) -> None:
        """
        Add a file or directory.  Not for several threads.

        :param path: its path below the tree.
        :raise OSError: the temporary file cannot be written.
        """
        item = Item.of(entry, path)
        if entry.kind == "directory":
            self._directories.add(item)
        else:
            self._files.add(item)
            self.size += item.size

    @property
    def files(self) -> int:
        """How many files there are."""
        return len(self._files)

    def next_file(self) -> Item | None:
        """:return: a file that no thread has received yet; ``None`` if there is none."""
        with self._lock:
            if self._next == len(self._files):
                return None
            self._next += 1
            return self._files.read(self._next - 1)

    def directories(self) -> Iterator[Item]:
        """:return: the directories, also those that are added meanwhile, in their order."""
        number = 0
        while number < len(self._directories):
            yield self._directories.read(number)
            number += 1

    def directories_from_below(self) -> Iterator[Item]:
        """:return: the directories in the other order, if a directory precedes what is in it."""
        count = len(self._directories)
        return (self._directories.read(number) for number in reversed(range(count)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary files."""
        self._directories.close()
        self._files.close()
