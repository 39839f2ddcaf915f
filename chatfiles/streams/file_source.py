"""
An open file as the source of a transfer: it gives bytes of one version of the file, or fails.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from chatfiles.model import FileFacts
from chatfiles.streams.outcome import Outcome

__all__ = ["FileChanged", "FileSource", "NotCached", "Openable", "Unstable"]

_NOWAIT = os.RWF_NOWAIT
#: Bytes of one read that only brings a file into memory.
_WARM_READ = 256 * 1024
#: Seconds between two checks of a file that is being written.  A write sets the time before the
#: size; between the two the kernel copies a page, which takes microseconds as a rule.
_RETRY_AFTER = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032)


class Openable(Protocol):
    """What a source needs of an open file; see `chatfiles.streams.descriptor.Descriptor`."""

    @property
    def fd(self) -> int:
        """The descriptor that was checked and is served; -1 once it is closed."""

    @property
    def facts(self) -> FileFacts:
        """What ``fstat`` said of it when it was opened."""

    @property
    def local(self) -> bool:
        """Whether the file is on a disk of this machine."""

    def borrow(self) -> AbstractContextManager[int]:
        """:return: gives the descriptor to a thread; until its end the descriptor stays open."""


class FileChanged(Exception):
    """The file shrank, or was rewritten in place, while it was being sent."""

    outcome = Outcome.FILE_CHANGED


class NotCached(Exception):
    """A read would block; call `FileSource.warm` in a thread first."""


class Unstable(Exception):
    """The file is being written; call `FileSource.wait_until_stable` in a thread."""


class FileSource:
    """
    Reads a file that others may change meanwhile.

    `warm`, `wait_until_stable` and `read` block and are for threads: the descriptor stays open
    until they return, even if the owner closes the file.  All other methods are for the thread that
    closes the file.

    :param file: the open file; it is not closed here.
    :param sleep: waits for so many seconds.
    :ivar local: whether the file is on a disk of this machine.  If not, only `read` may be used: on
        a network or FUSE file system even `verify` may block.
    """

    def __init__(self, file: Openable, sleep: Callable[[float], object] = time.sleep) -> None:
        self.local = file.local
        self._file = file
        self._facts = file.facts
        self._sleep = sleep
        self._reports_cached = True  # whether the file system says what is in memory
        self._warm = (0, 0)
        self._probe = memoryview(bytearray(1))

    @property
    def fd(self) -> int:
        """The descriptor; -1 once the file is closed."""
        return self._file.fd

    def verify(self) -> None:
        """
        Check that all bytes read until now are of one version.

        A file that grew is still whole up to the length it had when it was opened (a log that is
        being written).  One of the same size with another mtime was rewritten, or is about to grow.

        :raise FileChanged: it shrank.
        :raise Unstable: it was rewritten, or is about to grow.
        """
        now = os.fstat(self._file.fd)
        facts = self._facts
        if now.st_size < facts.size:
            raise FileChanged
        if now.st_size == facts.size and now.st_mtime_ns != facts.mtime_ns:
            raise Unstable

    def wait_until_stable(self) -> None:
        """
        Wait until it is clear whether the file was rewritten, or grows.  Blocks: for a thread.

        :raise FileChanged: it was rewritten, or shrank.
        """
        with self._file.borrow():
            for pause in _RETRY_AFTER:
                try:
                    return self.verify()
                except Unstable:
                    self._sleep(pause)
            try:
                self.verify()
            except Unstable:
                raise FileChanged from None

    def read(self, offset: int, length: int) -> bytes:
        """
        Read, then check the version as `wait_until_stable` does.  Blocks: for a thread.

        :return: the bytes, at least one, at most *length*.
        :raise FileChanged: there are none, or they are of another version.
        """
        with self._file.borrow() as fd:
            data = os.pread(fd, length, offset)
            if not data:
                raise FileChanged
            self.wait_until_stable()
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
        Check whether both ends of a span are in memory, so that ``sendfile`` will not wait.

        :raise NotCached: they are not, or the file system does not say.
        """
        end = offset + length
        for at in (offset, end - 1):
            self._read(self._probe, at, end)

    def _read(self, buffer: memoryview, offset: int, end: int) -> int:
        is_warm = self._warm[0] <= offset and end <= self._warm[1]
        if not self._reports_cached and not is_warm:
            raise NotCached
        try:
            return os.preadv(self._file.fd, [buffer], offset, _NOWAIT if self._reports_cached else 0)
        except BlockingIOError:
            raise NotCached from None
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP or not self._reports_cached:
                raise
            self._reports_cached = False  # overlayfs, for one
            raise NotCached from None

    def warm(self, offset: int, length: int) -> None:
        """
        Bring a span into memory.  Blocks: for a thread.

        :param offset: of its first byte.
        :param length: its bytes.
        """
        view = memoryview(bytearray(min(length, _WARM_READ)))
        at, end = offset, offset + length
        with self._file.borrow() as fd:
            while at < end:
                count = os.preadv(fd, [view[: end - at]], at)
                if not count:
                    break
                at += count
        self._warm = (offset, end)
