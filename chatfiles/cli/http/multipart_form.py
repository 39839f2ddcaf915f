"""
The ``multipart/form-data`` body of an upload (RFC 7578; file names are escaped as in WHATWG's
forms).

Pure: it turns the bytes of parts into the bytes of a body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from chatfiles.client.core.form import part_headers

__all__ = ["Form", "Part", "Wait"]

#: Called with a descriptor before each read that may block; returns when it is readable.
Wait = Callable[[int], object]


class Part(Protocol):
    """A file of a form."""

    @property
    def name(self) -> bytes:
        """Its file name: any bytes."""

    @property
    def size(self) -> int | None:
        """Its length in bytes; ``None`` if it is not known before its end."""

    def pieces(self, wait: Wait) -> Iterator[bytes]:
        """
        :param wait: called before each read that may block.
        :return: its bytes: exactly `size`, unless the iterator raises an exception.
        """


class Form:
    """
    Files as the body of one request.

    :param parts: the files, in order.
    :param boundary: see `chatfiles.client.core.form.new_boundary`.
    :ivar content_type: the body's ``Content-Type``.
    :ivar length: bytes of the body including `closing`; ``None`` if a part has no size.
    :ivar closing: the bytes after the last part.
    """

    def __init__(self, parts: Sequence[Part], boundary: str) -> None:
        self._parts = parts
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self.closing = self._delimiter + b"--\r\n"
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self.length = self._length()

    def blocks(self, wait: Wait) -> Iterator[bytes]:
        """
        :param wait: called before each read that may block.
        :return: the body without its `closing`, in blocks that are not empty.
        """
        for index, part in enumerate(self._parts):
            yield self._head(index)
            yield from filter(None, part.pieces(wait))

    def _head(self, index: int) -> bytes:
        delimiter = self._delimiter if index else self._delimiter[2:]
        return delimiter + part_headers(self._parts[index].name)

    def _length(self) -> int | None:
        total = len(self.closing)
        for index, part in enumerate(self._parts):
            if part.size is None:
                return None
            total += len(self._head(index)) + part.size
        return total
