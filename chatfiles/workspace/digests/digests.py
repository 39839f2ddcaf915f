"""
The digests of a workspace's files (reference/digests, "Computation" and "Cache").
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from chatfiles.errors import Conflict, ReadFailed
from chatfiles.model import FileFacts
from chatfiles.rules.conditional_requests import SETTLED_NS
from chatfiles.runtime.threads import Threads
from chatfiles.streams.file_source import FileChanged
from chatfiles.workspace.digests.cache import DigestCache
from chatfiles.workspace.digests.computation import Computation, Computations, Outcome
from chatfiles.workspace.digests.file_hash import FileHash, quiet_ns
from chatfiles.workspace.files.open_file import OpenFile

__all__ = ["INLINE_BYTES", "Digests", "Progress"]

#: Default for the bytes of the largest file whose digest is computed before a download begins.
INLINE_BYTES = 16 * 1024 * 1024
#: Versions whose digests are kept.
KEPT = 4096
#: Versions of a file that may be replaced before their digest is complete.
VERSIONS = 3
#: Seconds that the number of replaced versions counts, and that a digest waits for a client that
#: has received 202, if its version cannot be kept.
REMEMBERED = 60.0
#: Paths whose number of replaced versions is remembered.
_PATHS = 256


class Progress(NamedTuple):
    """
    How far a computation is.

    :param done: bytes that have been read.
    :param size: of the file, in bytes.
    """

    done: int
    size: int


class Digests:
    """
    Computes and remembers digests.

    A file that is passed to it has been opened by the store.  *owner* is whose threads a call uses:
    the root of the path.

    :param threads: run calls that may block.
    :param clock: runs timers.
    :param inline_bytes: the size of the largest file whose digest a download waits for.
    :param now_ns: returns the time of day in nanoseconds.
    :param sleep: waits in a thread for the given seconds.
    :ivar looked_up: called for each `look_up`, with whether the digest was known.
    """

    looked_up: Callable[[bool], object] = staticmethod(lambda _: None)

    def __init__(
        self,
        threads: Threads,
        clock: IReactorTime,
        inline_bytes: int = INLINE_BYTES,
        now_ns: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.inline_bytes = inline_bytes
        self._threads = threads
        self._clock = clock
        self._now_ns = now_ns
        self._sleep = sleep
        self._cache = DigestCache(KEPT)
        self._computations = Computations(threads, clock, self._ended)
        #: Digests of versions that are not kept, for clients that have received 202.
        self._left: dict[FileFacts, bytes] = {}
        #: Path → number of versions that were replaced, and when the last one was.
        self._replaced: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def known(self, facts: FileFacts) -> bytes | None:
        """:return: the digest of this version, 32 bytes; ``None`` if it must be computed."""
        return self._cache.get(facts) or self._left.get(facts)

    def look_up(self, facts: FileFacts) -> bytes | None:
        """As `known`, for a request that wants the digest."""
        digest = self.known(facts)
        self.looked_up(digest is not None)
        return digest

    def seconds_until_quiet(self, facts: FileFacts) -> float:
        """
        :return: seconds after which the file can be read for its digest, unless it changes again; 0
            if it can be read now.
        """
        quiet = quiet_ns(facts.size)
        missing = facts.ctime_ns + quiet - self._now_ns()
        return max(0, min(missing, quiet)) / 1e9

    async def at_once(self, file: OpenFile, owner: Hashable) -> bytes | None:
        """
        Compute the digest of a small file.

        :param file: is not closed.
        :return: the digest of the version that was opened, 32 bytes; ``None`` if the file has
            changed since, or cannot be read.
        :raise Unavailable: no thread is free.
        """
        hashing = self._hashing(file)
        try:
            digest = await self._threads.run(hashing.whole, owner=owner)
        except (FileChanged, OSError):
            return None
        if hashing.settled:
            self._cache.put(file.facts, digest)
        return digest

    async def within(
        self, seconds: float, path: bytes, file: OpenFile, owner: Hashable
    ) -> bytes | Progress:
        """
        Wait for the digest of a file of any size.  The computation continues after that.

        :param path: the virtual path, bytes.
        :param file: is closed when it is no longer needed.
        :return: the digest of the version that was opened, 32 bytes; or the progress after
            *seconds*.
        :raise FileChanged: the file is another version now; open it again.
        :raise Conflict: `VERSIONS` versions were replaced.
        :raise ReadFailed: an I/O error.
        :raise Unavailable: no thread is free.
        """
        computation = self._computation(path, file, owner)
        waiting = computation.digest()
        with self._computations.used(computation):
            waiting.addTimeout(seconds, self._clock)
            try:
                return await waiting
            except DeferredTimeout:
                return Progress(computation.hashing.done, file.facts.size)

    @contextmanager
    def beside(self, path: bytes, file: OpenFile, owner: Hashable) -> Iterator[None]:
        """
        Compute the digest of a file while it is sent.

        :param path: the virtual path, bytes.
        :param file: is not closed.
        :return: a context manager, which uses the computation until the transfer has ended.
        """
        try:
            fd = os.dup(file.fd)
        except OSError:  # no free descriptor: there is no digest
            yield
            return
        own = OpenFile(fd, file.facts, file.name, file.local)
        with self._computations.used(self._computation(path, own, owner)):
            yield

    def stop(self) -> None:
        """End all computations; idempotent."""
        self._computations.stop()

    def _hashing(self, file: OpenFile) -> FileHash:
        age_ns = quiet_ns(file.facts.size)
        if file.facts.size > self.inline_bytes:
            age_ns += SETTLED_NS  # it can wait until its version may be kept
        return FileHash(file, age_ns, self._now_ns, self._sleep)

    def _computation(self, path: bytes, file: OpenFile, owner: Hashable) -> Computation:
        found = self._computations.find(file.facts)
        if found is None:
            is_small = file.facts.size <= self.inline_bytes
            return Computation(path, file, self._hashing(file), owner, is_small=is_small)
        file.release(self._threads.run, owner)
        return found

    def _ended(self, computation: Computation, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Failure):
            return self._failed(computation.path, outcome)
        facts = computation.hashing.facts
        self._replaced.pop(computation.path, None)
        if computation.hashing.settled:
            self._cache.put(facts, outcome)
        elif not computation.is_awaited:
            self._left[facts] = outcome
            self._clock.callLater(REMEMBERED, self._left.pop, facts, None)
        return outcome

    def _failed(self, path: bytes, failure: Failure) -> Failure:
        if failure.check(FileChanged) and self._count(path) >= VERSIONS:
            del self._replaced[path]
            return Failure(Conflict("file is changing", code="file_changing"))
        if failure.check(OSError):
            failed = ReadFailed()
            failed.__cause__ = failure.value
            return Failure(failed)
        return failure

    def _count(self, path: bytes) -> int:
        """:return: the number of versions of *path* that were replaced, including this one."""
        now = self._clock.seconds()
        count, at = self._replaced.pop(path, (0, now))
        count = count + 1 if now - at < REMEMBERED else 1
        self._replaced[path] = count, now
        if len(self._replaced) > _PATHS:
            self._replaced.popitem(last=False)
        return count
