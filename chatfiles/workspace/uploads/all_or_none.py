"""
Publishes the files of a request: all of them, or none.

The system names files one by one, and the process may be killed between two of them.  So the names
are first written to a *note*, a small file that is removed when all files have their names.  When
the role starts, it removes every file that a leftover note lists.  Withdrawing works the same way.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence

from chatfiles.posix.atomic_file import write_all
from chatfiles.workspace.publication.unpublished_file import UnpublishedFile, create_locked

__all__ = ["NOTE", "publish_all", "withdraw_all", "withdraw_noted"]

#: Suffix of a note's name.
NOTE = ".note"
#: The only names that a note may list, one per line: those of uploads.
_NAMED = re.compile(rb"([0-9a-f]{32}-[A-Za-z0-9._-]{1,100})\n")
_LONGEST_NOTE = 16 * 1024

_Files = Sequence[tuple[UnpublishedFile, str]]
_Note = tuple[int, str]


def publish_all(files: _Files, directory_fd: int) -> None:
    """
    Give all *files* their final names, or none.

    :param files: complete files and their names.
    :param directory_fd: the directory that holds them.
    :raise OSError: a file could not be published, so none is published.
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
    Remove the final names of published files.  Names that remain after a failure are removed at the
    next start.

    :param files: the files and their names.
    :param directory_fd: the directory that holds them.
    """
    note = None
    with contextlib.suppress(OSError):  # a full disk: remove them without a note
        note = _write_note(files, directory_fd)
    for file, _ in files:
        file.withdraw()
    with contextlib.suppress(OSError):
        os.fsync(directory_fd)
    _drop_note(note, directory_fd)


def _write_note(files: _Files, directory_fd: int) -> _Note | None:
    """:return: the note's descriptor and name; ``None`` for a single file, which needs no note."""
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
    """Remove the note if it still exists."""
    if note is not None:
        os.close(note[0])
        with contextlib.suppress(OSError):
            os.unlink(note[1], dir_fd=directory_fd)


def withdraw_noted(fd: int, directory_fd: int) -> int:
    """
    Remove the files that a note lists.

    :param fd: the note, open for reading.  The workspace's owner can write anything into it.
    :return: how many files were removed.
    """
    removed = 0
    for name in _NAMED.findall(os.pread(fd, _LONGEST_NOTE, 0)):
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=directory_fd)
            removed += 1
    return removed
