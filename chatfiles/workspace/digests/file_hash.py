"""
The SHA-256 of an open file, computed in steps.  Either it is that of one version, or it fails.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable

from chatfiles.model import FileFacts
from chatfiles.posix.filesystems import TICK_NS
from chatfiles.rules.conditional_requests import SETTLED_NS
from chatfiles.streams.file_source import FileChanged
from chatfiles.workspace.files.open_file import OpenFile

__all__ = ["FileHash", "quiet_ns"]

#: Bytes of one step.  Between steps a computation can end, or wait for its turn.
STEP = 8 * 1024 * 1024
#: Bytes of one read.
_READ = 256 * 1024
#: The longest time that one write may take, and the nanoseconds that each of its bytes may take.
_LONGEST_NS, _BYTE_NS = 1_000_000_000, 1


def quiet_ns(size: int) -> int:
    """
    :param size: of a file, in bytes.
    :return: nanoseconds for which a file must not have changed before it is read.  Two writes
        within one tick have the same times, so the second one could not be noticed, neither now
        nor by the transfer that follows.  And a write sets the times when it begins, so what it
        has not written yet could not be noticed.
    """
    return TICK_NS + min(size * _BYTE_NS, _LONGEST_NS)


class FileHash:
    """
    Computes the SHA-256 of an open file.

    Its methods block, and are for threads, one at a time.  The descriptor stays open until they
    return.

    :param file: the open file; it is not closed here.
    :param age_ns: minimum age in nanoseconds, since its ctime, at which it is read; see `quiet_ns`.
    :param now_ns: returns the time of day in nanoseconds.
    :param sleep: waits for the given seconds.
    :ivar done: number of bytes that have been read.
    :ivar settled: whether the version was so old when reading began that its ``ETag`` was strong.
    """

    def __init__(
        self,
        file: OpenFile,
        age_ns: int,
        now_ns: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.facts = file.facts
        self.done = 0
        self.settled = False
        self._file = file
        self._age_ns = age_ns
        self._now_ns = now_ns
        self._sleep = sleep
        self._hash = hashlib.sha256()

    def whole(self) -> bytes:
        """
        :return: the digest, 32 bytes.
        :raise: see `step`.
        """
        while (digest := self.step()) is None:
            pass
        return digest

    def step(self) -> bytes | None:
        """
        Read the next bytes, then check the version.

        :return: the digest, 32 bytes; ``None`` if there are more bytes to read.
        :raise FileChanged: the file is no longer the version that was opened.
        :raise OSError: it cannot be read.
        """
        with self._file.borrow() as fd:
            if not self.done:
                self._grow_old()
            self._read(fd, min(self.done + STEP, self.facts.size))
            if FileFacts.of(os.fstat(fd)) != self.facts:
                raise FileChanged
        return self._hash.digest() if self.done == self.facts.size else None

    def _grow_old(self) -> None:
        missing = self.facts.ctime_ns + self._age_ns - self._now_ns()
        if missing > 0:
            # Not longer than that, even if the clock was set back.
            self._sleep(min(missing, self._age_ns) / 1e9)
        changed = max(self.facts.mtime_ns, self.facts.ctime_ns)
        self.settled = self._now_ns() - changed >= SETTLED_NS

    def _read(self, fd: int, end: int) -> None:
        view = memoryview(bytearray(min(_READ, end - self.done)))
        while self.done < end:
            count = os.preadv(fd, [view[: end - self.done]], self.done)
            if not count:
                raise FileChanged
            self._hash.update(view[:count])
            self.done += count
