"""
Removes the files that a killed process left unpublished.  A process that still writes a file has
locked it, so its file is kept.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable, Sequence

from chatfiles.errors import ChatfilesError
from chatfiles.workspace.files.open_beneath import open_for_listing

__all__ = ["PART", "PREFIX", "remove_unlocked", "sweep_below"]

#: Prefix of temporary names, which are hidden and denied everywhere, and suffix of those of files
#: that only a running process needs.
PREFIX, PART = ".chatfiles-part-", ".part"

_LEFTOVER = re.compile(re.escape(PREFIX) + "[0-9a-f]+" + re.escape(PART))
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def remove_unlocked(
    directory_fd: int,
    name: str,
    also: Callable[[int, int], int] | None = None,
    *,
    without_locks: bool = False,
) -> int:
    """
    Remove a regular file, unless a process has locked it.

    :param also: called before with the file, open for reading, and the directory; returns how many
        further files it has removed.  The file itself is not counted then.
    :param without_locks: whether to remove it, too, if its file system has no locks.
    :return: how many files were removed.
    """
    try:
        if not stat.S_ISREG(os.stat(name, dir_fd=directory_fd, follow_symlinks=False).st_mode):
            return 0
        fd = os.open(name, _OPEN, dir_fd=directory_fd)
    except OSError:
        return 0
    try:
        _lock(fd, without_locks)
        removed = 1 if also is None else also(fd, directory_fd)
        os.unlink(name, dir_fd=directory_fd)
    except OSError:
        return 0
    finally:
        os.close(fd)
    return removed


def _lock(fd: int, without_locks: bool) -> None:
    """
    Lock a file.

    :raise OSError: another process has locked it, or its file system has no locks and
        *without_locks* is false.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK or not without_locks:
            raise


def sweep_below(root_fd: int, segments: Sequence[bytes]) -> int:
    """
    Remove all leftovers in a directory and below it.  No symlink is followed, and one directory is
    open at a time, whatever the depth of the tree.  Blocks.

    :param root_fd: a descriptor of the directory of a root.
    :param segments: of the path beneath it; may be empty.
    :return: how many files were removed.
    """
    removed, pending = 0, [tuple(segments)]
    while pending:
        here = pending.pop()
        try:
            fd = open_for_listing(root_fd, here)
        except ChatfilesError:
            continue  # it is missing, or may not be read
        try:
            directories, leftovers = _look_in(fd)
            removed += sum(remove_unlocked(fd, name) for name in leftovers)
        finally:
            os.close(fd)
        pending += [(*here, name) for name in directories]
    return removed


def _look_in(directory_fd: int) -> tuple[list[bytes], list[str]]:
    """:return: the directories in a directory, and the names of leftovers."""
    directories, leftovers = list[bytes](), list[str]()
    try:
        with os.scandir(directory_fd) as entries:
            for entry in entries:
                if _LEFTOVER.fullmatch(entry.name):
                    leftovers.append(entry.name)
                elif entry.is_dir(follow_symlinks=False):
                    directories.append(os.fsencode(entry.name))
    except OSError:
        pass  # a disk that fails, or a directory that has vanished
    return directories, leftovers
