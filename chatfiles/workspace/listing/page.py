"""
A page of a directory: the entries whose names are the smallest behind a cursor (reference/listing,
"Pages").

A cursor is a name, so a page needs nothing from the page before.  It reads all names, unless
`KnownNames` still has those that it needs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import pairwise

from chatfiles.http.server.json_text import json_text
from chatfiles.rules.entry_json import encode_cursor, ref_below, ref_of, shown
from chatfiles.workspace.files.open_directory import Found, OpenDirectory
from chatfiles.workspace.listing.entry import entry
from chatfiles.workspace.listing.known_names import (
    READ_AHEAD,
    KnownNames,
    Names,
    settled_version,
)
from chatfiles.workspace.listing.turns import Turn

__all__ = ["page"]

#: The least new names that are merged into the smallest ones.
_MERGED = 1024
#: Names that are sorted at once.
_PIECE = 4096
#: The least names that one reading of the directory keeps, so that many hidden files do not need
#: many readings.
_KEPT = 1024
#: Directories with fewer names are read faster than it is worth to remember them.
_LARGE = 4096


class _Smallest:
    """
    Keeps the smallest names.

    :param most: how many to keep.
    :param after: keep only names behind this one.
    """

    def __init__(self, most: int, after: bytes) -> None:
        self._most = most
        self._after = after
        self._kept: list[bytes] = []  # sorted
        self._new: list[bytes] = []
        self._limit: bytes | None = None  # of the names that are still of use, if any was dropped
        self._merge_at = max(most // 8, _MERGED)

    def add(self, names: list[bytes], is_hidden: Callable[[bytes], bool]) -> None:
        """
        :param names: some names, in any order; a directory may give a name twice.
        :param is_hidden: returns whether a name must not be kept.
        """
        after, limit = self._after, self._limit
        if limit is None:
            new = [name for name in names if name > after]
        else:
            new = [name for name in names if after < name < limit]
        self._new += sorted([name for name in new if not is_hidden(name)])
        if len(self._new) >= self._merge_at:
            self._merge()

    def _merge(self) -> None:
        """Merge the new names, piece by piece: no other thread runs while a list is sorted."""
        new, at = sorted(self._new), 0
        merged: list[bytes] = []
        for start in range(0, len(self._kept), _PIECE):
            piece = self._kept[start : start + _PIECE]
            end = bisect_right(new, piece[-1], at)
            merged += sorted(piece + new[at:end])
            at = end
        merged += new[at:]
        if len(merged) > self._most:
            del merged[self._most :]
            self._limit = merged[-1]
        self._kept, self._new = merged, []

    def found(self) -> Names:
        """:return: the smallest names, each once."""
        self._merge()
        names = [name for name, next_name in pairwise([*self._kept, b""]) if name != next_name]
        return Names(self._after, names, self._limit is None)


class _Page:
    """
    Makes one page.

    :param directory: to list.
    :param limit: the most entries.
    :param after: the name behind which it begins; empty for the first page.
    :param now_ns: returns nanoseconds since the epoch.
    :param known: keeps names for the next pages.
    :ivar texts: the entries, in JSON.
    :ivar last: the name of the last entry; before there is one, where the page begins.
    :ivar has_next: whether there is an entry behind the last one.
    """

    def __init__(
        self,
        directory: OpenDirectory,
        limit: int,
        after: bytes,
        now_ns: Callable[[], int],
        known: KnownNames,
    ) -> None:
        self._directory = directory
        self._limit = limit
        self._now_ns = now_ns
        self._known = known
        self._ref = ref_of(directory.path.raw)
        self._turn = Turn()
        self.texts: list[bytes] = []
        self.last = after
        self.has_next = False

    def make(self) -> Iterator[None]:
        """Make the page; suspended at the end of each turn."""
        after, is_last = self.last, False
        # Names that have vanished, or whose files are hidden, are replaced by the next ones.
        while not (is_last or self.has_next):
            _, names, is_last = yield from self._names(after)
            yield from self._look(names)
            after = names[-1] if names else after

    def _names(self, after: bytes) -> Generator[None, None, Names]:
        """:return: the next names behind *after*, at least one or all."""
        version = settled_version(self._directory, self._now_ns())
        if version is not None and (known := self._known.behind(version, after)) is not None:
            return known
        most = max(self._limit - len(self.texts) + 1, _KEPT)
        if version is not None and after:  # who asks for a second page will ask for a third
            most = max(most, READ_AHEAD)
        smallest = _Smallest(most, after)
        count = yield from self._read(smallest)
        found = smallest.found()
        if version is not None and count >= _LARGE:
            self._known.keep(version, found)
        return found

    def _read(self, smallest: _Smallest) -> Generator[None, None, int]:
        """:return: the number of names that the directory has."""
        count = 0
        with closing(self._directory.batches()) as batches:
            for batch in batches:
                count += len(batch)
                smallest.add(batch, self._directory.hides)
                if self._turn.is_over(len(batch)):
                    yield from self._suspend()
        return count

    def _look(self, names: list[bytes]) -> Iterator[None]:
        now_ns = self._now_ns()
        for name in names:
            found = self._directory.look(name)
            if found is not None and len(self.texts) == self._limit:
                self.has_next = True
                return
            if found is not None:
                self._add(found, now_ns)
            if self._turn.is_over():
                yield from self._suspend()
                now_ns = self._now_ns()

    def _add(self, found: Found, now_ns: int) -> None:
        self.last = found.name
        self.texts.append(json_text(entry(found, ref_below(self._ref, found.name), now_ns)))

    def _suspend(self) -> Iterator[None]:
        yield None
        self._turn.begin()


def page(
    directory: OpenDirectory,
    limit: int,
    after: bytes | None,
    now_ns: Callable[[], int],
    known: KnownNames,
) -> Generator[bytes, None, None]:
    """
    Make a page.  Blocks, so it is done in threads: one at a time.

    :param directory: to list; it stays open.
    :param limit: the most entries.
    :param after: the name behind which the page begins; ``None`` for the first page.
    :param now_ns: returns nanoseconds since the epoch.
    :param known: keeps names for the next pages.
    :return: empty bytes at the end of each turn, and then the JSON of the page.
    :raise chatfiles.errors.ChatfilesError: the directory cannot be read.
    """
    making = _Page(directory, limit, after or b"", now_ns, known)
    for _ in making.make():
        yield b""
    raw = directory.path.raw
    head = json_text({"path": shown(raw), "ref": ref_of(raw), "entries": []})
    end = b',"next":' + json_text(encode_cursor(making.last)) if making.has_next else b""
    yield b"%b%b]%b}\n" % (head[:-2], b",".join(making.texts), end)
