"""
The input of an upload: a file that must not change while it is read, or a pipe.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from typing import Self

from chatfiles.cli.errors import CliError, local_error
from chatfiles.cli.exit_status import Exit
from chatfiles.cli.http.multipart_form import Wait

__all__ = ["STDIN", "Source", "SourceChanged"]

#: The name of standard input on the command line.
STDIN = "-"
#: Maximum bytes of one read.
BLOCK = 256 * 1024


class SourceChanged(CliError):
    """The file changed while it was being sent."""


class Source:
    """
    One open file to send.  As a context manager, it closes the file at the end.

    :param path: a file, a pipe, a device, or ``-``.
    :param name: its name in the form; by default the last segment of *path*.
    :ivar path: as it was given.
    :ivar label: its name in messages.
    :ivar name: its name in the form, in bytes.
    :ivar size: bytes of a regular file after its current position; otherwise ``None``.
    :ivar sent: how many bytes have been read, in their order.
    :ivar digest: the SHA-256 of these bytes.
    :raise CliError: it cannot be read.
    """

    def __init__(self, path: str, name: str | None = None) -> None:
        self.path = path
        self.label = "standard input" if path == STDIN else path or "''"
        shown = name or ("stdin" if path == STDIN else os.path.basename(path))
        self.name = os.fsencode(shown)
        self._forget()
        try:
            if path == STDIN:
                self._file = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115
            else:
                self._file = open(path, "rb", buffering=0)  # noqa: SIM115
            self._begins = os.fstat(self._file.fileno())
            self.size = self._size()
            self._start = 0 if self.size is None else self._file.tell()
        except OSError as error:
            raise self._failed(error) from error

    def pieces(self, wait: Wait) -> Iterator[bytes]:
        """
        See `multipart_form.Part`.

        :raise CliError: the file cannot be read, or has changed since it was opened.
        """
        self._forget()
        source = self._until_end(wait) if self.size is None else self.rest(0)
        try:
            for piece in source:
                self._count(piece)
                yield piece
        except OSError as error:
            raise self._failed(error) from error

    @property
    def facts(self) -> tuple[int, int, int]:
        """The size in bytes, the time of modification in nanoseconds, and the inode of a file."""
        begins = self._begins
        return self.size or 0, begins.st_mtime_ns, begins.st_ino

    def compute_digest(self, advance: Callable[[int], object]) -> None:
        """
        Read a regular file to its end, to know its `digest` before it is sent.

        :param advance: called with the number of bytes that have just been read.
        :raise CliError: as `pieces`.
        """
        self._forget()
        for piece in self.rest(0):
            self._count(piece)
            advance(len(piece))

    def rest(self, offset: int) -> Iterator[bytes]:
        """
        :param offset: in bytes.
        :return: the bytes of a regular file from there to its end.
        :raise CliError: as `pieces`.
        """
        try:
            self._file.seek(self._start + offset)
            yield from self._counted((self.size or 0) - offset)
        except OSError as error:
            raise self._failed(error) from error

    def _forget(self) -> None:
        self.sent, self.digest = 0, hashlib.sha256()

    def _count(self, piece: bytes) -> None:
        self.sent += len(piece)
        self.digest.update(piece)

    def _size(self) -> int | None:
        if not stat.S_ISREG(self._begins.st_mode):
            return None
        return max(0, self._begins.st_size - self._file.tell())

    def _until_end(self, wait: Wait) -> Iterator[bytes]:
        while True:
            wait(self._file.fileno())
            piece: bytes | None = self._file.read(BLOCK)
            if piece is None:  # a non-blocking pipe that another process has emptied
                continue
            if not piece:
                return
            yield piece

    def _counted(self, size: int) -> Iterator[bytes]:
        left = size
        while left:
            piece = self._file.read(min(BLOCK, left))
            if not piece:
                raise self._changed("it has become shorter")
            left -= len(piece)
            if not left:  # before the last piece is sent, which completes the file
                self._check_unchanged()
            yield piece
        if not size:
            self._check_unchanged()

    def _check_unchanged(self) -> None:
        now = os.fstat(self._file.fileno())
        if now.st_size < self._begins.st_size:
            raise self._changed("it has become shorter")
        if self._file.read(1):  # also in /proc, where every file has size 0
            raise self._changed("it has become longer")
        if now.st_mtime_ns != self._begins.st_mtime_ns:
            raise self._changed("it has been written to")

    def _changed(self, how: str) -> SourceChanged:
        return SourceChanged(
            f"{self.label} changed while it was being sent: {how}",
            Exit.LOCAL,
            hint="the upload was stopped; a file that changes all the time can be sent through a "
            "pipe: cat FILE | chatfiles put - --name NAME WORKSPACE",
        )

    def _failed(self, error: OSError) -> CliError:
        hint = None
        if isinstance(error, IsADirectoryError):
            hint = "pack it: tar -cz DIR | chatfiles put - --name DIR.tar.gz WORKSPACE"
        return local_error(f"cannot read {self.label}", error, hint)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()
