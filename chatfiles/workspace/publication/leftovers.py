"""
Removes the files that a killed process left unpublished.  A process that still writes a file has
locked it, so its file is kept.  The unfinished file of a resumable upload is kept while there is a
record of it.
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

__all__ = ["PART", "PREFIX", "RECORD", "remove_lost", "remove_unlocked", "sweep_below"]

#: Prefix of temporary names, which are hidden and denied everywhere, and suffix of those of files
#: that only a running process needs.
PREFIX, PART = ".chatfiles-part-", ".part"
#: Suffix of the record of a resumable upload; the unfinished file has none.
RECORD = ".json"

_LEFTOVER = re.compile(re.escape(PREFIX) + "[0-9a-f]+" + re.escape(PART))
_RESUMABLE = re.compile(re.escape(PREFIX) + "[0-9a-f]{32}")
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


def remove_lost(directory_fd: int, name: str, records_fd: int) -> int:
    """
    Remove the unfinished file of a resumable upload, if there is no record of it: its directory was
    renamed, say, until the upload expired.

    :param name: of a file; nothing happens if it is not such a file.
    :param records_fd: the directory of records.  A record is written before the file is created.
    :return: how many files were removed.
    """
    if not _RESUMABLE.fullmatch(name):
        return 0
    try:
        os.stat(name + RECORD, dir_fd=records_fd, follow_symlinks=False)
    except FileNotFoundError:
        return remove_unlocked(directory_fd, name, without_locks=True)
    except OSError:
        pass
    return 0


def sweep_below(root_fd: int, segments: Sequence[bytes], records_fd: int | None = None) -> int:
    """
    Remove all leftovers in a directory and below it.  No symlink is followed, and one directory is
    open at a time, whatever the depth of the tree.  Blocks.

    :param root_fd: a descriptor of the directory of a root.
    :param segments: of the path beneath it; may be empty.
    :param records_fd: the directory of the records of resumable uploads; ``None`` if there is none,
        and their files are kept.
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
            removed += sum(_remove(fd, name, records_fd) for name in leftovers)
        finally:
            os.close(fd)
        pending += [(*here, name) for name in directories]
    return removed


def _remove(directory_fd: int, name: str, records_fd: int | None) -> int:
    if _LEFTOVER.fullmatch(name):
        return remove_unlocked(directory_fd, name)
    return 0 if records_fd is None else remove_lost(directory_fd, name, records_fd)


def _look_in(directory_fd: int) -> tuple[list[bytes], list[str]]:
    """:return: the directories in a directory, and the names of leftovers."""
    directories, leftovers = list[bytes](), list[str]()
    try:
        with os.scandir(directory_fd) as entries:
            for entry in entries:
                if entry.name.startswith(PREFIX):
                    leftovers.append(entry.name)
                elif entry.is_dir(follow_symlinks=False):
                    directories.append(os.fsencode(entry.name))
    except OSError:
        pass  # a disk that fails, or a directory that has vanished
    return directories, leftovers
