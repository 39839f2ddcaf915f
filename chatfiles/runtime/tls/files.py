"""
Reads files again when they may have changed, and keeps what was valid if they are not.

A program that renews a certificate writes the certificate and its key one after the other.  So all
files of a whole are read and checked together before they replace what is in use.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from twisted.logger import Logger

__all__ = ["KEPT", "SILENT", "BadFile", "File", "LoadedFiles", "Report"]

T = TypeVar("T")

#: Takes one line for the operator about files: that they are not valid, or were replaced.
Report = Callable[[str], object]

#: For the workers of a role, of which only one reports what happens to files.
SILENT = Logger(observer=lambda _: None)  # type: ignore[arg-type]

#: What a report says about files that were valid before.
KEPT = "what was read before stays in use"

#: The largest file, in bytes.
MAX_BYTES = 1 << 20


class BadFile(ValueError):
    """
    A file cannot be used; the text names it.

    :ivar path: of the file.
    """

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path


class File(NamedTuple):
    """
    A file that was read.

    :ivar path: where it is.
    :ivar content: the whole of it.
    :ivar mode: its permissions.
    """

    path: str
    content: bytes
    mode: int


def read_file(path: str) -> File:
    """
    :param path: of a regular file, or of a symbolic link to one.
    :return: the file.
    :raise BadFile: it cannot be read, or is too large to be what it should be.
    """
    try:
        with open(path, "rb", opener=_open) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise BadFile(path, "not a regular file")
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadFile(path, os.strerror(error.errno or errno.EIO)) from None
    if len(content) > MAX_BYTES:
        raise BadFile(path, "too large")
    return File(path, content, mode)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # do not wait for the writer of a FIFO


class LoadedFiles(Generic[T]):
    """
    What is made from files.

    :param paths: of the files.
    :param make: makes the value from the files, or raises `BadFile`.
    :ivar value: made from the latest files that were valid; ``None`` if none were.
    :ivar is_refused: whether the files were not valid when they were read last.
    """

    def __init__(self, paths: Sequence[str], make: Callable[[Sequence[File]], T]) -> None:
        self.paths = tuple(paths)
        self.value: T | None = None
        self.is_refused = False
        self._make = make
        self._seen = b""

    def load(self) -> T:
        """
        Read the files.  Blocks.

        :return: the value.
        :raise BadFile: a file is not valid.
        """
        found = _read(self.paths)
        self._seen, self.is_refused = _digest(found), True
        if isinstance(found, BadFile):
            raise found
        self.value = self._make(found)
        self.is_refused = False
        return self.value

    def look(self, report: Report) -> bool:
        """
        Read the files again, and replace the value if they have changed.  Blocks.

        :param report: takes a line about files that are not valid, once for each content.
        :return: whether there is a new value.
        """
        if _digest(_read(self.paths)) == self._seen:
            return False
        try:
            self.load()
        except BadFile as error:
            report(f"{error}; {'not used' if self.value is None else KEPT}")
            return False
        return True


def _read(paths: Sequence[str]) -> Sequence[File] | BadFile:
    try:
        return [read_file(path) for path in paths]
    except BadFile as error:
        return error


def _digest(found: Sequence[File] | BadFile) -> bytes:
    """:return: the same for the same content, so that the content of a key is not kept."""
    if isinstance(found, BadFile):
        return str(found).encode()
    return b"".join(hashlib.sha256(file.content).digest() for file in found)
