"""
Counts the files of a form while it passes (reference/links, "Opening a link").
"""

from __future__ import annotations

from chatfiles.errors import TooLarge
from chatfiles.rules.multipart_reader import FileBegins, MultipartReader

__all__ = ["FileCounter"]


class FileCounter:
    """
    Counts the files of one form.

    :param boundary: the boundary between its parts.
    :param most: how many files it may have.
    """

    def __init__(self, boundary: str, most: int) -> None:
        self._reader = MultipartReader(boundary)
        self._most = most
        self._count = 0

    def feed(self, data: bytes) -> None:
        """
        :param data: the next bytes of the form.
        :raise TooLarge: 413, it has more files than it may have.
        :raise chatfiles.errors.BadRequest: 400, it is malformed.
        """
        for event in self._reader.feed(data):
            self._count += isinstance(event, FileBegins)
            if self._count > self._most:
                raise TooLarge(f"too many files (limit {self._most})", code="too_many_files")
