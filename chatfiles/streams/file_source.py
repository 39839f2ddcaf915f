"""
An open file as the source of a transfer: one version of it, or a visible failure (CONTRACT 6.1).
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Protocol

from chatfiles.model import FileFacts

__all__ = ["FileChanged", "FileSource", "NotCached", "Openable", "Unsettled"]

_NOWAIT = os.RWF_NOWAIT
#: Bytes of one read that only brings a file into memory.
_WARM_READ = 256 * 1024
#: Seconds between looks at a file that is being written: a write sets the time before the size,
#: with the copying of a page in between, microseconds as a rule.
_SETTLING = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032)


class Openable(Protocol):
    """What a source needs of an open file."""

    @property
    def fd(self) -> int:
        """The descriptor that was checked and is served."""

    @property
    def facts(self) -> FileFacts:
        """What ``fstat`` said of it when it was opened."""

    @property
    def local(self) -> bool:
        """Whether it lies on a disk of this machine."""


class FileChanged(Exception):
    """The file shrank, or was rewritten in place, while it was being sent."""

    outcome = "file_changed"


class NotCached(Exception):
    """A read would block; `FileSource.warm` in a thread first."""


class Unsettled(Exception):
    """Somebody writes to the file; `FileSource.settle` in a thread tells what comes of it."""


class FileSource:
    """
    Reads a file that others may change meanwhile.

    :param file: the open file; it is not closed here.
    :param sleep: waits for so many seconds.
    :ivar local: whether anything but `read` and `warm` may be called on the reactor's thread; else
        even `verify` waits for a network, or for another program.
    """

    def __init__(self, file: Openable, sleep: Callable[[float], object] = time.sleep) -> None:
        self.fd = file.fd
        self.local = file.local
        self._facts = file.facts
        self._sleep = sleep
        self._tells = True  # whether the file system says what is in memory
        self._warm = (0, 0)
        self._probe = memoryview(bytearray(1))

    def verify(self) -> None:
        """
        Check that what has been read up to now is of one version.

        A file that grew is still whole up to the pinned length (a log that is being written); one
        of the same size with another mtime has been rewritten in place, or is about to grow.

        :raise FileChanged: it shrank.
        :raise Unsettled: it was rewritten, or is about to grow.
        """
        now = os.fstat(self.fd)
        facts = self._facts
        if now.st_size < facts.size:
            raise FileChanged
        if now.st_size == facts.size and now.st_mtime_ns != facts.mtime_ns:
            raise Unsettled

    def settle(self) -> None:
        """
        Wait until it can be told whether the file was rewritten, or grows.  Blocks: for a thread.

        :raise FileChanged: it was rewritten, or shrank.
        """
        for pause in _SETTLING:
            try:
                return self.verify()
            except Unsettled:
                self._sleep(pause)
        try:
            self.verify()
        except Unsettled:
            raise FileChanged from None

    def read(self, offset: int, length: int) -> bytes:
        """
        Read, `verify` and `settle`.  Blocks: for a thread.

        :return: the bytes, at least one, at most *length*.
        :raise FileChanged: there are none, or of another version.
        """
        data = os.pread(self.fd, length, offset)
        if not data:
            raise FileChanged
        self.settle()
        return data

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """
        Read without waiting for a disk.

        :return: how many bytes were read, at least one.
        :raise NotCached: they have to come from a disk first.
        :raise FileChanged: there are none.
        """
        count = self._read(buffer, offset, offset + len(buffer))
        if not count:
            raise FileChanged
        return count

    def check_cached(self, offset: int, length: int) -> None:
        """
        Look whether both ends of a span are in memory, so that ``sendfile`` will not wait.

        :raise NotCached: they are not, or the file system does not tell.
        """
        end = offset + length
        for at in (offset, end - 1):
            self._read(self._probe, at, end)

    def _read(self, buffer: memoryview, offset: int, end: int) -> int:
        if not self._tells and not (self._warm[0] <= offset and end <= self._warm[1]):
            raise NotCached
        try:
            return os.preadv(self.fd, [buffer], offset, _NOWAIT if self._tells else 0)
        except BlockingIOError:
            raise NotCached from None
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP or not self._tells:
                raise
            self._tells = False  # overlayfs, for one
            raise NotCached from None

    def warm(self, offset: int, length: int) -> None:
        """
        Bring a span into memory.  Blocks: for a thread.

        :param offset: of its first byte.
        :param length: its bytes.
        """
        view = memoryview(bytearray(min(length, _WARM_READ)))
        at, end = offset, offset + length
        while at < end:
            count = os.preadv(self.fd, [view[: end - at]], at)
            if not count:
                break
            at += count
        self._warm = (offset, end)
