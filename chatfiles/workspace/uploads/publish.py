"""
From files in the making to files of the workspace: all of a request, or none.

The system gives names to files one by one.  So that a process that is killed between two of them
leaves nothing either, what is about to appear is written down before: a *note* that is removed once
all of it has.  A note that is found when the role starts names what has to go.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence

from chatfiles.workspace.uploads.incomplete import IncompleteFile, create_locked, write_all

__all__ = ["NOTE", "publish_all", "withdraw_noted"]

#: How the name of a note ends.
NOTE = ".note"
#: What a note may name, which is nothing but uploads: each on a line of its own.
_NAMED = re.compile(rb"([0-9a-f]{32}-[A-Za-z0-9._-]{1,100})\n")
_LONGEST_NOTE = 16 * 1024


def publish_all(files: Sequence[tuple[IncompleteFile, str]], directory_fd: int) -> None:
    """
    Make all of *files*, which are complete, visible under their names, or none.

    :param directory_fd: of the directory in which they are.
    :raise OSError: one of them could not be.
    """
    note = _write_note([name for _, name in files], directory_fd) if len(files) > 1 else None
    try:
        for file, name in files:
            file.publish(name)
        os.fsync(directory_fd)
        if note is not None:
            os.unlink(note[1], dir_fd=directory_fd)
            os.fsync(directory_fd)
    except BaseException:
        for file, _ in files:
            file.withdraw()
        raise
    finally:
        if note is not None:
            os.close(note[0])
            with contextlib.suppress(OSError):
                os.unlink(note[1], dir_fd=directory_fd)


def _write_note(names: Sequence[str], directory_fd: int) -> tuple[int, str]:
    fd, note = create_locked(directory_fd, NOTE)
    try:
        write_all(fd, "".join(name + "\n" for name in names).encode("ascii"))
        os.fsync(fd)
        os.fsync(directory_fd)
    except BaseException:
        os.close(fd)
        with contextlib.suppress(OSError):
            os.unlink(note, dir_fd=directory_fd)
        raise
    return fd, note


def withdraw_noted(fd: int, directory_fd: int) -> int:
    """
    Remove what a note names.

    :param fd: reads the note, which may hold anything that the workspace's owner has put there.
    :return: how many files.
    """
    removed = 0
    for name in _NAMED.findall(os.pread(fd, _LONGEST_NOTE, 0)):
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=directory_fd)
            removed += 1
    return removed
