"""
The inodes of the role's own secrets, which are never served under any name.

Functions whose names end in ``at_once`` never block.  All others may block for a short time: call
them in a thread.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from chatfiles.posix.openat2 import WouldWait, by_cache
from chatfiles.workspace.files.cached_directory import CachedDirectory

__all__ = ["CredentialInodes"]

#: Replaced credential inodes that are kept while they are still linked; then the oldest is dropped.
MAX_REPLACED: Final = 64
#: Nanoseconds for which the result of an examination is used again by a listing.
RECENT_NS: Final = 20_000_000
#: Nanoseconds after a change of a directory in which another one could have the same time.
SETTLED_NS: Final = 1_000_000_000

_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP})


class CredentialInodes:
    """
    The inodes that hold a credential, or held one and are still linked under another name.

    Each inode is kept open as ``O_PATH``, so that the system cannot reuse its number.  An inode
    without links is released.  Safe to use from several threads.

    :param paths: the credential files; they need not exist yet.
    :param now_ns: returns nanoseconds since the epoch.
    """

    def __init__(
        self, paths: Iterable[str | bytes], now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._now_ns = now_ns
        self._paths = [os.path.abspath(os.fsencode(path)) for path in paths]
        self._split = [(path, *os.path.split(path)) for path in self._paths]
        self._current: dict[bytes, tuple[int, int]] = {}
        self._held: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()
        self._directories = {d: CachedDirectory(d) for d in map(os.path.dirname, self._paths)}
        self._settled: dict[bytes, _Version] = {}
        self._examined_ns = 0

    @property
    def directories(self) -> list[bytes]:
        """The directories of the credential files."""
        return list(self._directories)

    def refresh(self) -> None:
        """Record the inodes that hold a credential now.  Blocks."""
        # If a request needs them, `include` raises the error.
        with self._lock, suppress(OSError):
            self._examine_all()

    def include(self, facts: os.stat_result) -> bool:
        """
        :param facts: the ``fstat`` result of a file that is about to be served.
        :return: whether it is one of these inodes.
        :raise OSError: a credential file cannot be examined.
        """
        with self._lock:
            self._examine_all()
            return _inode(facts) in self._held

    def include_recent(self, facts: os.stat_result) -> bool:
        """
        Like `include`, but a credential file that was examined less than `RECENT_NS` ago is not
        examined again: for the many files of a listing, of which no content is sent.
        """
        with self._lock:
            if not 0 <= self._now_ns() - self._examined_ns < RECENT_NS:
                self._examine_all()
            return _inode(facts) in self._held

    def include_at_once(self, facts: os.stat_result) -> bool:
        """
        Like `include`, if the kernel has the names of the credential files in memory and their
        inodes are unchanged.  Never blocks.

        :raise WouldWait: a name is not in memory, an inode has changed, or a thread is examining
            the files.
        """
        if not self._lock.acquire(blocking=False):
            raise WouldWait
        try:
            for above, cached in self._directories.items():
                self._compare_at_once(above, cached)
            return _inode(facts) in self._held
        except OSError:
            raise WouldWait from None  # `include` reports it
        finally:
            self._lock.release()

    def close(self) -> None:
        """Release every inode; idempotent."""
        with self._lock:
            while self._held:
                os.close(self._held.popitem()[1])
            self._current.clear()
            self._settled.clear()
            self._examined_ns = 0

    def _compare_at_once(self, above: bytes, cached: CachedDirectory) -> None:
        """:raise WouldWait: a credential file of this directory was replaced."""
        directory = cached.open_at_once()
        try:
            version = _version(directory)
            if self._settled.get(above) == version:
                return  # no name in it has changed
            for path, parent, name in self._split:
                if parent == above and _inode_at_once(directory, name) != self._current.get(path):
                    raise WouldWait
            if self._now_ns() - version[-1] > SETTLED_NS:
                self._settled[above] = version
        finally:
            os.close(directory)

    def _examine_all(self) -> None:
        examined_ns, self._examined_ns = self._now_ns(), 0
        self._settled.clear()
        versions = {above: _version_of(cached) for above, cached in self._directories.items()}
        for cached in self._directories.values():
            cached.examine_path()
        for path in self._paths:
            self._examine(path)
        # A tmpfs does not remember that a name is missing, so `_compare_at_once` cannot find out.
        for above, version in versions.items():
            if version is not None and examined_ns - version[-1] > SETTLED_NS:
                self._settled[above] = version
        self._examined_ns = examined_ns

    def _examine(self, path: bytes) -> None:
        try:
            now = os.stat(path)
            if self._current.get(path) == _inode(now):
                return
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            if self._current.pop(path, None) is not None:
                self._release_replaced()
            return
        inode = _inode(os.fstat(handle))
        self._current[path] = inode
        if inode in self._held:
            os.close(handle)
        else:
            self._held[inode] = handle
        self._release_replaced()

    def _release_replaced(self) -> None:
        """Release replaced inodes that have no links, or are too many."""
        current = set(self._current.values())
        replaced = [inode for inode in self._held if inode not in current]
        linked = [inode for inode in replaced if _is_linked(self._held[inode])]
        for inode in set(replaced).difference(linked[-MAX_REPLACED:]):
            os.close(self._held.pop(inode))


def _inode(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino


def _inode_at_once(directory: int, name: bytes) -> tuple[int, int] | None:
    """:return: the inode that has this name now; ``None`` if there is none."""
    try:
        handle = by_cache(directory, (name,), os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return _inode(os.fstat(handle))
    finally:
        os.close(handle)


_Version = tuple[int, int, int]


def _version(directory: int) -> _Version:
    """:return: device, inode and ctime in nanoseconds, which changes with the names in it."""
    facts = os.fstat(directory)
    return facts.st_dev, facts.st_ino, facts.st_ctime_ns


def _version_of(directory: CachedDirectory) -> _Version | None:
    """:return: as `_version`; ``None`` if the directory cannot be examined."""
    try:
        facts = os.stat(directory.path)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino, facts.st_ctime_ns


def _is_linked(handle: int) -> bool:
    try:
        return os.fstat(handle).st_nlink > 0
    except OSError as error:
        if error.errno == errno.ESTALE:
            return False
        raise
