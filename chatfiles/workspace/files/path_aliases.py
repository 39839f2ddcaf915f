"""
Files that have several virtual paths, because one root's directory lies inside another's.  A deny
rule about one of the paths applies to the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["PathAliases"]

Place = tuple[bytes, bytes]


class PathAliases:
    """
    Finds the other virtual paths of a file.  It needs no file system access, because symlinks
    beneath a root are never followed.

    :param roots: pairs of a root and its directory on this machine, absolute and without symlinks.
    :param more: further pairs, which give virtual paths but which no request can name.
    """

    __slots__ = ("_names",)

    def __init__(self, roots: Iterable[Place], more: Iterable[Place] = ()) -> None:
        begin = list(roots)
        known = {*begin, *more}
        self._names: dict[bytes, list[Place]] = {
            root: [name for other in known for name in _name((root, directory), other)]
            for root, directory in begin
        }

    def of(self, root: bytes, raw: bytes) -> Iterator[bytes]:
        """
        :param root: the root of *raw*.
        :param raw: a valid virtual path.
        :return: the other virtual paths of the same file.
        """
        for beginning, instead in self._names.get(root, ()):
            if raw == beginning or raw.startswith(beginning + b"/"):
                yield instead + raw[len(beginning) :]

    def lead_below(self, root: bytes, raw: bytes) -> bool:
        """
        :param root: the root of *raw*.
        :param raw: a valid virtual path, of a directory.
        :return: whether something below it has another virtual path, but not the directory itself.
        """
        return any(beginning.startswith(raw + b"/") for beginning, _ in self._names.get(root, ()))


def _name(place: Place, other: Place) -> Iterator[Place]:
    """Yield path prefixes through *place* that lead into *other*, with their prefix there."""
    (virtual, directory), (other_virtual, other_directory) = place, other
    if place == other:
        return
    if (below := _below(other_directory, directory)) is not None:
        yield virtual + below, other_virtual
    elif (below := _below(directory, other_directory)) is not None:
        yield virtual, other_virtual + below


def _below(path: bytes, directory: bytes) -> bytes | None:
    """
    :return: the rest of *path* after *directory*, with its slash; ``None`` if *path* is not in
        *directory*.
    """
    directory = directory.rstrip(b"/")
    if path == directory or path.startswith(directory + b"/"):
        return path[len(directory) :]
    return None
