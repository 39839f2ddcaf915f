"""
From files in the making to files of the workspace: all of a request, or none.

The system gives names to files one by one.  So that a process that is killed between two of them
leaves nothing either, what is about to appear is written down before: a *note* that is removed once
all of it has.  A note that is found when the role starts names what has to go.  Names are taken
away in the same way.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence

from chatfiles.workspace.uploads.unpublished_file import UnpublishedFile, create_locked, write_all

__all__ = ["NOTE", "publish_all", "withdraw_all", "withdraw_noted"]

#: How the name of a note ends.
NOTE = ".note"
#: What a note may name, which is nothing but uploads: each on a line of its own.
_NAMED = re.compile(rb"([0-9a-f]{32}-[A-Za-z0-9._-]{1,100})\n")
_LONGEST_NOTE = 16 * 1024

_Files = Sequence[tuple[UnpublishedFile, str]]
_Note = tuple[int, str]


def publish_all(files: _Files, directory_fd: int) -> None:
    """
    Make all of *files*, which are complete, visible under their names, or none.

    :param directory_fd: of the directory in which they are.
    :raise OSError: one of them could not be.
    """
    note = _write_note(files, directory_fd)
    try:
        for file, name in files:
            file.publish(name)
        os.fsync(directory_fd)
        if note is not None:
            os.unlink(note[1], dir_fd=directory_fd)
            os.fsync(directory_fd)
    except BaseException:
        withdraw_all(files, directory_fd)
        raise
    finally:
        _drop_note(note, directory_fd)


def withdraw_all(files: _Files, directory_fd: int) -> None:
    """
    Make what has been published invisible again: all of it, or all of it at the next start.

    :param directory_fd: of the directory in which they are.
    """
    note = None
    with contextlib.suppress(OSError):  # a full disk is one more reason to remove them
        note = _write_note(files, directory_fd)
    for file, _ in files:
        file.withdraw()
    with contextlib.suppress(OSError):
        os.fsync(directory_fd)
    _drop_note(note, directory_fd)


def _write_note(files: _Files, directory_fd: int) -> _Note | None:
    """:return: its descriptor and name; ``None`` for one file, which is there or is not."""
    if len(files) < 2:
        return None
    note = create_locked(directory_fd, NOTE)
    try:
        write_all(note[0], "".join(name + "\n" for _, name in files).encode("ascii"))
        os.fsync(note[0])
        os.fsync(directory_fd)
    except BaseException:
        _drop_note(note, directory_fd)
        raise
    return note


def _drop_note(note: _Note | None, directory_fd: int) -> None:
    """Remove it, if it is still there."""
    if note is not None:
        os.close(note[0])
        with contextlib.suppress(OSError):
            os.unlink(note[1], dir_fd=directory_fd)


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
