"""
Walks a tree of directories, one entry at a time.

A walk can be suspended after each entry, so that it needs no thread while nothing is wanted from
it.  It keeps the directories open that it is in, and nothing else in memory.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import NamedTuple

from chatfiles.errors import Forbidden, NotADirectory, NotFound, ReadFailed
from chatfiles.rules.entry_json import Kind
from chatfiles.workspace.files.open_directory import Found, OpenDirectory

__all__ = ["Visit", "Walk"]


class Visit(NamedTuple):
    """
    An entry that a walk has reached.

    :param directory: the directory that it is in, which is open until the walk continues.
    :param found: what it is.
    :param level: how deep it is: 1 for what is in the directory where the walk begins.
    """

    directory: OpenDirectory
    found: Found
    level: int


class Walk(Iterator[Visit | None]):
    """
    Iterates over what is below a directory, in the order of each directory; a directory comes
    before what is in it.  ``None`` stands for a name that is hidden or has vanished.

    A directory that cannot be listed has `Found.error`, and the walk continues behind it.  A
    directory is entered by its descriptor, so a symlink is never followed.

    Iterating blocks, so it is done in threads: one at a time.  It raises `Unavailable` if the
    process lacks resources, and `ReadFailed` if a directory can no longer be read.

    :param directory: where it begins; the walk closes it.
    :param depth: how many levels to visit.
    """

    def __init__(self, directory: OpenDirectory, depth: int) -> None:
        self._depth = depth
        self._levels: list[tuple[OpenDirectory, Generator[bytes, None, None]]] = []
        self._enter(directory)

    def __next__(self) -> Visit | None:
        while self._levels:
            directory, names = self._levels[-1]
            name = next(names, None)
            if name is not None:
                return self._visit(directory, name)
            self._leave()
        raise StopIteration

    def close(self) -> None:
        """Close the directories that are open; idempotent."""
        while self._levels:
            self._leave()

    def _visit(self, directory: OpenDirectory, name: bytes) -> Visit | None:
        found, level = directory.look(name), len(self._levels)
        if found is not None and found.kind is Kind.DIRECTORY and level < self._depth:
            found = self._descend(directory, found)
        return None if found is None else Visit(directory, found, level)

    def _descend(self, directory: OpenDirectory, found: Found) -> Found | None:
        """:return: what is to be said of the directory, which has been entered if possible."""
        try:
            self._enter(directory.open_directory(found.name))
        except (Forbidden, ReadFailed) as error:
            return found._replace(readable=False, error=error.text)
        except (NotFound, NotADirectory):  # replaced since it was looked at
            return directory.look(found.name)
        return found

    def _enter(self, directory: OpenDirectory) -> None:
        try:
            self._levels.append((directory, directory.names()))
        except BaseException:
            directory.close()
            raise

    def _leave(self) -> None:
        directory, names = self._levels.pop()
        names.close()
        directory.close()
