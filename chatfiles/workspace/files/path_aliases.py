"""
Files that have several virtual paths, because one root's directory lies within another's: a rule
about any of them is one about the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["PathAliases"]

Place = tuple[bytes, bytes]


class PathAliases:
    """
    Symlinks are not followed beneath a root, so where a path leads is known without looking.

    :param roots: root and directory of this machine, absolute and without symlinks.
    :param more: other virtual directories, and where they are, which no path leads through.
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
        :param root: the root that *raw* begins with.
        :param raw: a virtual path that keeps the rules of form.
        :return: the other virtual paths of the same file.
        """
        for beginning, instead in self._names.get(root, ()):
            if raw == beginning or raw.startswith(beginning + b"/"):
                yield instead + raw[len(beginning) :]


def _name(place: Place, other: Place) -> Iterator[Place]:
    """Yield how virtual paths through *place* begin that lead into *other*; and how there."""
    (virtual, directory), (other_virtual, other_directory) = place, other
    if place == other:
        return
    if (below := _below(other_directory, directory)) is not None:
        yield virtual + below, other_virtual
    elif (below := _below(directory, other_directory)) is not None:
        yield virtual, other_virtual + below


def _below(path: bytes, directory: bytes) -> bytes | None:
    """:return: what leads from *directory* to *path*, with its slash; ``None`` if nothing does."""
    directory = directory.rstrip(b"/")
    if path == directory or path.startswith(directory + b"/"):
        return path[len(directory) :]
    return None
