"""
The directories of a workspace in which clients may write (reference/writes, "Writable prefixes").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from chatfiles.errors import ChatfilesError, Forbidden
from chatfiles.rules.virtual_paths import VirtualPath, check_form

__all__ = ["WritablePrefixes", "not_writable", "prefix"]


def prefix(value: bytes) -> bytes:
    """
    :param value: of ``--writable`` or ``--write-in-place``.
    :return: the virtual path of a directory.
    :raise ValueError: it is not at or below a root; the text says what is.
    """
    try:
        return check_form([value.rstrip(b"/")]).raw
    except ChatfilesError:
        raise ValueError("a directory at or below a root, such as /workspace") from None


def not_writable() -> Forbidden:
    """:return: the error for a path that clients may not change."""
    return Forbidden("path is not writable", code="not_writable")


class WritablePrefixes:
    """
    The prefixes that the operator has named.

    :param prefixes: virtual paths, bytes (``--writable``).
    :param in_place: those in which files are written in place (``--write-in-place``), too.
    """

    __slots__ = ("_in_place", "_prefixes")

    def __init__(self, prefixes: Iterable[bytes] = (), in_place: Iterable[bytes] = ()) -> None:
        self._in_place = frozenset(in_place)
        self._prefixes = tuple(dict.fromkeys((*prefixes, *sorted(self._in_place))))

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._prefixes)

    def of_root(self, root: bytes) -> list[bytes]:
        """:return: the prefixes at or below a root, in the order in which they were named."""
        return [each for each in self._prefixes if _is_at_or_below(each, root)]

    def require(self, path: VirtualPath) -> None:
        """
        :raise Forbidden: 403, *path* is at no prefix and below none.
        """
        if not any(_is_at_or_below(path.raw, each) for each in self._prefixes):
            raise not_writable()

    def include(self, path: VirtualPath) -> bool:
        """:return: whether *path* is one of the prefixes itself."""
        return path.raw in self._prefixes

    def write_in_place(self, path: VirtualPath) -> bool:
        """:return: whether files there are not replaced, but written in place."""
        return any(_is_at_or_below(path.raw, each) for each in self._in_place)


def _is_at_or_below(raw: bytes, directory: bytes) -> bool:
    return raw == directory or raw.startswith(directory + b"/")
