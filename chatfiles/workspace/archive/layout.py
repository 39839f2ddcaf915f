"""
Where the files of a request are placed in its archive (reference/archives, "Members").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chatfiles.rules.virtual_paths import VirtualPath

__all__ = ["MANIFEST", "Layout", "Placed", "layout_of"]

#: The name of the last member.
MANIFEST = b"chatfiles-manifest.json"
#: The directory of an archive with files of several roots.
SEVERAL_ROOTS = b"files"


@dataclass(frozen=True, slots=True)
class Placed:
    """
    A path, and its place.

    :param path: the path.
    :param names: the segments of the member's name.
    """

    path: VirtualPath
    names: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """
    The places of all paths.

    :param top: the directory at the top level, which has all members but the manifest.
    :param common: the virtual path of this directory, if it is above several paths; else ``None``.
    :param placed: the paths in the order of the archive.
    """

    top: bytes
    common: VirtualPath | None
    placed: tuple[Placed, ...]

    @property
    def has_several(self) -> bool:
        """Whether the directory at the top is not itself one of the paths."""
        return len(self.placed) > 1


def layout_of(paths: Iterable[VirtualPath]) -> Layout:
    """
    :param paths: one or more.  A path that is given again, or is below another one, adds nothing.
    :return: their places.
    """
    kept = _outermost(paths)
    if len(kept) == 1:
        (path,) = kept.values()
        return Layout(path.name, None, (Placed(path, (path.name,)),))
    common = _common(list(kept))
    top = common[-1] if common else SEVERAL_ROOTS
    placed = tuple(Placed(path, (top, *names[len(common) :])) for names, path in kept.items())
    above = None
    if common:
        root, *segments = common
        above = VirtualPath(b"/" + b"/".join(common), b"/" + root, tuple(segments))
    return Layout(top, above, placed)


Names = tuple[bytes, ...]


def _outermost(paths: Iterable[VirtualPath]) -> dict[Names, VirtualPath]:
    """:return: the paths that are below no other one, by their names, in the order of bytes."""
    sorted_paths = sorted({(path.root[1:], *path.segments): path for path in paths}.items())
    kept: dict[Names, VirtualPath] = {}
    last: Names | None = None
    for names, path in sorted_paths:
        if last is None or names[: len(last)] != last:
            kept[names] = path
            last = names
    return kept


def _common(all_names: list[Names]) -> Names:
    """:return: the names of the deepest directory that is above all of them."""
    first, last = all_names[0], all_names[-1]  # those that differ most, because they are sorted
    count = 0
    while first[count] == last[count]:
        count += 1
    return first[:count]
