"""
Files of which digests are computed.
"""

from __future__ import annotations

import hashlib
import os
from itertools import count
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.model import FileFacts
from chatfiles.workspace.digests import file_hash
from chatfiles.workspace.digests.digests import Digests
from chatfiles.workspace.files.open_file import OpenFile
from tests.contract.file_store import scratch
from tests.support.held_threads import HeldThreads

__all__ = ["INLINE", "STEP", "DigestsCase", "sha256"]

#: Bytes of one step, and of the largest file that is small.
STEP, INLINE = 10, 20
SECOND_NS = 10**9


def sha256(content: bytes) -> bytes:
    """:return: the digest of *content*."""
    return hashlib.sha256(content).digest()


class DigestsCase(SynchronousTestCase):
    """Digests of files on disk, with threads and clocks of the test."""

    def setUp(self) -> None:
        self.patch(file_hash, "STEP", STEP)
        self.top = scratch(self)
        self.clock = Clock()
        self.threads = HeldThreads(self.clock)
        self.slept: list[float] = []
        self.age_ns = 3600 * SECOND_NS  # of every file
        threads: Any = self.threads
        self.digests = Digests(threads, self.clock, INLINE, self.now_ns, self.slept.append)
        self._numbers = count()
        self.newest_ns = 0

    def now_ns(self) -> int:
        return self.newest_ns + self.age_ns

    def write(self, content: bytes, name: bytes | None = None) -> bytes:
        """:return: the path of a file with other times than every earlier one."""
        path = self.top + b"/" + (b"%d" % next(self._numbers) if name is None else name)
        while True:
            with open(path, "r+b" if os.path.exists(path) else "xb") as file:
                file.write(content)
                file.truncate()
            facts = os.stat(path)
            if facts.st_ctime_ns > self.newest_ns:  # the kernel's clock has ticked
                self.newest_ns = facts.st_ctime_ns
                return path

    def open(self, path: bytes, *, local: bool = True) -> OpenFile:
        """:return: the file, which is closed after the test if nothing else closes it."""
        fd = os.open(path, os.O_RDONLY)
        file = OpenFile(fd, FileFacts.of(os.fstat(fd)), os.path.basename(path), local)
        self.addCleanup(file.close)
        return file

    def is_open(self, file: OpenFile) -> bool:
        """:return: whether the descriptor of *file* is open."""
        return file._fd >= 0
