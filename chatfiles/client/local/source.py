"""
What is uploaded: a file of a path, an open binary file, or an iterable of bytes.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import BinaryIO, cast

__all__ = ["FileSource", "IteratorSource", "Source", "Uploadable", "open_source"]

#: What an upload takes.
Uploadable = str | os.PathLike[str] | BinaryIO | Iterable[bytes] | AsyncIterable[bytes]


class FileSource:
    """
    An open binary file, from where it stands.  Every method may wait for the disk, and raise
    `OSError`.

    :param file: open for reading.
    :param owned: whether `close` closes it.
    :ivar size: bytes from where it stands to its end; ``None`` if it is not seekable.
    :ivar name: its own name; ``None`` if it has none.
    """

    def __init__(self, file: BinaryIO, *, owned: bool) -> None:
        self._file = file
        self._owned = owned
        self._start = 0
        self.size: int | None = None
        name = getattr(file, "name", None)
        self.name = os.path.basename(os.fsdecode(name)) if isinstance(name, str | bytes) else None
        if file.seekable():
            self._start = file.tell()
            self.size = max(0, file.seek(0, os.SEEK_END) - self._start)
            file.seek(self._start)

    def seek(self, offset: int) -> None:
        """:param offset: bytes behind where the file stood."""
        self._file.seek(self._start + offset)

    def read(self, size: int) -> bytes:
        """:return: at most *size* bytes; none at the end."""
        return self._file.read(size) or b""

    def close(self) -> None:
        """Close the file if this object has opened it."""
        if self._owned:
            self._file.close()


class IteratorSource:
    """
    Bytes of the program, which can be taken once.

    :ivar iterator: gives them.
    """

    size = name = None

    def __init__(self, pieces: Iterable[bytes] | AsyncIterable[bytes]) -> None:
        self.iterator: Iterator[bytes] | AsyncIterator[bytes] = (
            aiter(pieces) if isinstance(pieces, AsyncIterable) else iter(pieces)
        )

    def close(self) -> None:
        """Nothing was opened."""


Source = FileSource | IteratorSource


def open_source(source: Uploadable) -> Source:
    """
    :param source: see `Uploadable`.
    :return: it, to be closed after use.
    :raise TypeError: it is nothing of the kind.
    :raise OSError: the file cannot be opened.
    """
    if isinstance(source, str | os.PathLike):
        file = open(source, "rb")  # noqa: SIM115
        try:
            return FileSource(file, owned=True)
        except BaseException:
            file.close()
            raise
    if isinstance(source, bytes | bytearray | memoryview):
        raise TypeError("bytes are not a source; use io.BytesIO, or a list of one piece")
    if hasattr(source, "read"):
        return FileSource(cast("BinaryIO", source), owned=False)
    return IteratorSource(source)
