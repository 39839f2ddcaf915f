"""
The temporary directory of a demo, which does not outlive the demo for long.

It holds a locked file.  The demo and its roles have that file open, so the lock ends with the last
of these processes, even if they are killed.  The next demo removes the directories whose lock is
free.  Their age does not matter: a demo may run for weeks.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from typing import Self

__all__ = ["StateDirectory", "remove_leftovers"]

PREFIX = "chatfiles-demo-"
LOCK = ".lock"

_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class StateDirectory:
    """
    A new directory that only this user can enter.  As a context manager, it is removed at the end.

    :ivar path: its absolute path, without symlinks.
    :ivar lock: a descriptor of the locked file, for the processes that use the directory.
    :raise OSError: it cannot be created.
    """

    def __init__(self) -> None:
        self.path = os.path.realpath(tempfile.mkdtemp(prefix=PREFIX))
        # A file of the final name is locked already: no other demo can take it for a leftover.
        new = os.path.join(self.path, LOCK + ".new")
        self.lock = os.open(new, _OPEN | os.O_CREAT | os.O_EXCL, 0o600)
        with suppress(OSError):  # without locks, a directory is not removed by another demo
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(new, os.path.join(self.path, LOCK))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        with suppress(FileNotFoundError):  # the user has removed it
            _remove(self.path)
        os.close(self.lock)


def remove_leftovers() -> int:
    """
    Remove the directories of this user's demos that were killed.

    :return: how many were removed.
    """
    parent = tempfile.gettempdir()
    names = [name for name in os.listdir(parent) if name.startswith(PREFIX)]
    return sum(_remove_if_dead(os.path.join(parent, name)) for name in names)


def _remove_if_dead(path: str) -> bool:
    try:
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            return False
        lock = os.open(os.path.join(path, LOCK), _OPEN)
    except OSError:  # no lock: an unknown directory
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _remove(path)
    except OSError:
        return False
    finally:
        os.close(lock)


def _remove(path: str) -> bool:
    """
    Remove a directory, the lock last: if this is interrupted, the next demo continues.

    :return: whether it is gone.
    """
    for name in set(os.listdir(path)) - {LOCK}:
        below = os.path.join(path, name)
        if os.path.isdir(below) and not os.path.islink(below):
            shutil.rmtree(below, ignore_errors=True)
        else:
            os.unlink(below)
    if os.listdir(path) != [LOCK]:
        return False
    os.unlink(os.path.join(path, LOCK))
    os.rmdir(path)
    return True
