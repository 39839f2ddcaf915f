"""
A file of which one version is read, although other programs may be writing to it.

A transfer compares the modification time before and after it reads (`FileSource`).  That does not
show two things.  Two writes within one tick of the kernel's clock leave the same time.  And a
write may have begun when the file is opened: it has changed the time already, and the kernel may
make the process that writes wait for a second in the middle of it, because the disk is slow.  So a
file that was written just now is read after the tick.  If a process still has it open for writing,
it is watched until that process would have written again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from chatfiles.posix.filesystems import TICK_NS
from chatfiles.posix.leases import may_be_open_for_writing
from chatfiles.streams.file_source import FileSource
from chatfiles.workspace.files.open_file import OpenFile

__all__ = ["SteadyFile"]

#: Nanoseconds after a write within which another one could have the same time.
YOUNG_NS: Final = 2 * TICK_NS
#: Nanoseconds after a write for which a file is watched.
SETTLED_NS: Final = 2_000_000_000
#: Seconds between two looks meanwhile.
PAUSE: Final = 0.02


class SteadyFile:
    """
    Reads one version of a file.  All methods block, and raise `FileChanged` if the file was
    rewritten in place, or is shorter, since it was opened.  A file that grows, such as a log, is
    unchanged up to the size that it had.

    :param file: the open file; it is not closed here.
    :param now_ns: returns the time of day in nanoseconds.
    :param sleep: waits for the given seconds.
    :ivar size: when it was opened, in bytes.
    """

    def __init__(
        self,
        file: OpenFile,
        now_ns: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._file = file
        self._source = FileSource(file, sleep)
        self._now_ns = now_ns
        self._sleep = sleep
        self._is_watched = False
        self.size = file.facts.size

    def begin(self) -> None:
        """Wait until a further write has another modification time.  Call it before `read`."""
        if 0 <= (age := self._age_ns()) < YOUNG_NS:
            self._sleep((YOUNG_NS - age) / 1e9)
            self._source.wait_until_stable()
        if self._is_new():
            self._is_watched = not self._file.local or may_be_open_for_writing(self._file.fd)

    def read(self, start: int, length: int) -> bytes:
        """
        :param start: offset of the first byte.
        :param length: number of bytes.
        :return: exactly so many bytes.
        """
        content = self._source.read(start, length) if length else b""
        while len(content) < length:  # FUSE may return less than was asked for
            content += self._source.read(start + len(content), length - len(content))
        return content

    def finish(self) -> None:
        """Check all that was read, before the last of it is used."""
        while self._is_watched and self._is_new() and not self._has_grown():
            self._sleep(PAUSE)
            self._source.wait_until_stable()

    def _is_new(self) -> bool:
        return 0 <= self._age_ns() < SETTLED_NS

    def _age_ns(self) -> int:
        """:return: the time since the last write, when the file was opened; negative if unknown."""
        return self._now_ns() - self._file.facts.mtime_ns

    def _has_grown(self) -> bool:
        return os.fstat(self._file.fd).st_size > self.size
