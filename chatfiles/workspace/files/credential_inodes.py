"""
The inodes of the role's own secrets, which nobody may be served (CONTRACT 5).

Everything here blocks, shortly, for a thread; what says ``at_once`` does not, for the reactor's.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from chatfiles.posix.openat2 import WouldWait, by_cache
from chatfiles.workspace.files.cached_directory import CachedDirectory

__all__ = ["CredentialInodes"]

#: Replaced credential inodes, still linked somewhere, that are remembered; then the oldest goes.
MAX_REPLACED: Final = 64

_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP})


class CredentialInodes:
    """
    Which inodes hold a credential, or have held one and are still linked under another name.

    Each is kept open as ``O_PATH``, so that its number cannot be given to another file while it
    counts; one that is linked nowhere any more is let go.  May be used from several threads.

    :param paths: the credential files, whether or not they exist yet.
    """

    def __init__(self, paths: Iterable[str | bytes]) -> None:
        self._paths = [os.path.abspath(os.fsencode(path)) for path in paths]
        self._current: dict[bytes, tuple[int, int]] = {}
        self._held: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()
        self._near = {d: CachedDirectory(d) for d in map(os.path.dirname, self._paths)}
        with suppress(OSError):  # `include` will say what is wrong, to somebody who asks
            self._look_at_all()

    def include(self, facts: os.stat_result) -> bool:
        """
        :param facts: what ``fstat`` said of a file that is about to be served.
        :return: whether it is one of these inodes.
        :raise OSError: a credential file cannot be looked at, so that this cannot be said.
        """
        with self._lock:
            self._look_at_all()
            return _inode(facts) in self._held

    def include_at_once(self, facts: os.stat_result) -> bool:
        """
        As `include`, if the kernel has the credential files' names in memory, and they are as they
        were.  Never blocks.

        :raise WouldWait: it has not, or they are not, or a thread is looking.
        """
        if not self._lock.acquire(blocking=False):
            raise WouldWait
        try:
            for above, near in self._near.items():
                self._compare_at_once(above, near)
            return _inode(facts) in self._held
        except OSError:
            raise WouldWait from None  # what that means is for `include` to say
        finally:
            self._lock.release()

    def close(self) -> None:
        """Let go of every inode; idempotent."""
        with self._lock:
            while self._held:
                os.close(self._held.popitem()[1])
            self._current.clear()

    def _compare_at_once(self, above: bytes, near: CachedDirectory) -> None:
        """:raise WouldWait: some file of this directory is another one than before."""
        directory = near.open_at_once()
        try:
            for path in self._paths:
                parent, name = os.path.split(path)
                if parent == above and _inode_at_once(directory, name) != self._current.get(path):
                    raise WouldWait
        finally:
            os.close(directory)

    def _look_at_all(self) -> None:
        for near in self._near.values():
            near.look()
        for path in self._paths:
            self._look(path)

    def _look(self, path: bytes) -> None:
        try:
            now = os.stat(path)
            if self._current.get(path) == _inode(now):
                return
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            if self._current.pop(path, None) is not None:
                self._forget()
            return
        inode = _inode(os.fstat(handle))
        self._current[path] = inode
        if inode in self._held:
            os.close(handle)
        else:
            self._held[inode] = handle
        self._forget()

    def _forget(self) -> None:
        """Let go of the replaced ones that are gone, or too many."""
        current = set(self._current.values())
        replaced = [inode for inode in self._held if inode not in current]
        linked = [inode for inode in replaced if _is_linked(self._held[inode])]
        for inode in set(replaced).difference(linked[-MAX_REPLACED:]):
            os.close(self._held.pop(inode))


def _inode(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino


def _inode_at_once(directory: int, name: bytes) -> tuple[int, int] | None:
    """:return: what is there now; ``None`` for nothing."""
    try:
        handle = by_cache(directory, (name,), os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return _inode(os.fstat(handle))
    finally:
        os.close(handle)


def _is_linked(handle: int) -> bool:
    try:
        return os.fstat(handle).st_nlink > 0
    except OSError as error:
        if error.errno == errno.ESTALE:
            return False
        raise
