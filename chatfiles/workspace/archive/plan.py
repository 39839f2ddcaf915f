"""
Counts what an archive will contain, before its first byte is sent.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Final

from chatfiles.errors import (
    ChatfilesError,
    Forbidden,
    NotADirectory,
    NotFound,
    TooLarge,
    Unavailable,
)
from chatfiles.rules.entry_json import Kind, ref_of
from chatfiles.rules.listing_query import MAX_DEPTH
from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.workspace.archive.layout import Layout, layout_of
from chatfiles.workspace.files.interface import IFileStore
from chatfiles.workspace.files.open_directory import Found, OpenDirectory
from chatfiles.workspace.files.open_file import OpenFile

__all__ = ["Counter", "Folder", "Limits", "Plan"]

# The first byte of an entry that is not a directory: what it is, or why it cannot be added.
FILE, SYMLINK, SPECIAL, DENIED = b"f", b"l", b"s", b"p"
_MARKS: Final = {Kind.FILE: FILE, Kind.SYMLINK: SYMLINK, Kind.OTHER: SPECIAL}


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What an archive may contain.

    :param entries: the most files and directories.
    :param bytes: the most bytes in files.
    """

    entries: int = 100_000
    bytes: int = 1 << 40


@dataclass(slots=True)
class Folder:
    """
    A directory that was counted.

    :param name: the last segment of its path.
    :param entries: what is in it, sorted by name.  A file needs little memory: it is the byte of
        its kind, followed by its name.
    """

    name: bytes
    entries: list[bytes | Folder]

    def has(self, name: bytes) -> bool:
        """:return: whether something in it has this name."""
        at = bisect_left(self.entries, name, key=_name)
        return at < len(self.entries) and _name(self.entries[at]) == name


def _name(entry: bytes | Folder) -> bytes:
    return entry[1:] if isinstance(entry, bytes) else entry.name


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What an archive will contain, unless it changes meanwhile.

    :param paths: the paths of the request, each once.
    :param layout: their places.
    :param folders: the path of each directory in *layout* → what is in it.  All others are files.
    :param entries: number of files and directories.
    :param bytes: number of bytes in the files.
    """

    paths: tuple[VirtualPath, ...]
    layout: Layout
    folders: dict[VirtualPath, Folder]
    entries: int
    bytes: int


class Counter:
    """
    Counts the files and directories at and below some paths, once.

    :param store: opens the directories.
    :param limits: end the counting.
    :param paths: one or more, in the order of the request.
    """

    def __init__(self, store: IFileStore, limits: Limits, paths: Iterable[VirtualPath]) -> None:
        self._store = store
        self._limits = limits
        self._paths = tuple(dict.fromkeys(paths))
        self._layout = layout_of(self._paths)
        self._placed = {each.path for each in self._layout.placed}
        self._folders: dict[VirtualPath, Folder] = {}
        self._entries = self._bytes = 0
        self._stopped = False

    def stop(self) -> None:
        """The result is no longer needed.  Any thread may call this."""
        self._stopped = True

    def calls(self) -> Iterator[tuple[bytes, Callable[[], None]]]:
        """
        :return: a root, and a function that counts in this root, in pairs.  Call each function in a
            thread, in this order.  It raises `ChatfilesError` if a path cannot be read; of several,
            ``detail`` names it.  413: there are too many.  503: `stop` was called.
        """
        if self._layout.has_several:
            self._add(0)
        for root, paths in groupby(self._paths, attrgetter("root")):
            yield root, partial(self._count, tuple(paths))

    def plan(self) -> Plan:
        """:return: what was counted, after all `calls`."""
        return Plan(self._paths, self._layout, self._folders, self._entries, self._bytes)

    def _count(self, paths: Iterable[VirtualPath]) -> None:
        for path in paths:
            try:
                folder = self._at(path, path in self._placed)
            except ChatfilesError as error:
                if len(self._paths) > 1 and not isinstance(error, TooLarge):
                    error.detail = ref_of(path.raw)
                raise
            if folder is not None:
                self._folders[path] = folder

    def _at(self, path: VirtualPath, counts: bool) -> Folder | None:
        """:return: what is at *path*, if that is a directory that *counts*."""
        with self._open(path) as found:
            if not counts:
                return None
            if isinstance(found, OpenFile):
                self._add(found.facts.size)
                return None
            return self._folder(found, path.name, 0)

    def _open(self, path: VirtualPath) -> OpenDirectory | OpenFile:
        try:
            return self._store.open_directory(path)
        except NotADirectory:
            return self._store.open(path)

    def _folder(self, directory: OpenDirectory, name: bytes, depth: int) -> Folder:
        self._add(0)
        entries: list[bytes | Folder] = []
        below: list[bytes] = []
        with closing(directory.names()) as names:
            for found in filter(None, map(directory.look, names)):
                self._check_goes_on(depth)
                if found.kind is Kind.DIRECTORY:
                    below.append(found.name)
                    self._check_entries(self._entries + len(below))
                else:
                    entries.append(self._leaf(directory, found))
        for each in below:
            with suppress(NotFound, NotADirectory):  # it has vanished, or may not be seen
                entries.append(self._below(directory, each, depth + 1))
        entries.sort(key=_name)
        return Folder(name, entries)

    def _below(self, directory: OpenDirectory, name: bytes, depth: int) -> bytes | Folder:
        try:
            child = directory.open_directory(name)
        except Forbidden:
            return DENIED + name
        with child:
            return self._folder(child, name, depth)

    def _leaf(self, directory: OpenDirectory, found: Found) -> bytes:
        if found.facts is None or not directory.may_read(found):
            return DENIED + found.name
        if found.kind is Kind.FILE:
            self._add(found.facts.st_size)
        return _MARKS[found.kind] + found.name

    def _check_goes_on(self, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise self._too_large(MAX_DEPTH)
        if self._stopped:
            raise Unavailable(retry_after=1)

    def _add(self, size: int) -> None:
        self._entries += 1
        self._bytes += size
        self._check_entries(self._entries)
        if self._bytes > self._limits.bytes:
            raise self._too_large(self._limits.bytes)

    def _check_entries(self, entries: int) -> None:
        if entries > self._limits.entries:
            raise self._too_large(self._limits.entries, entries)

    def _too_large(self, limit: int, entries: int | None = None) -> TooLarge:
        counted = self._entries if entries is None else entries
        detail = {"entries": counted, "bytes": self._bytes, "limit": limit}
        return TooLarge("archive too large", code="archive_too_large", detail=detail)
