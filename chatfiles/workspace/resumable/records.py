"""
The records of resumable uploads, as files in the directory of uploads.  All functions block.

The time of a record's last modification is that of the upload's last progress: the upload expires
some time after it.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from typing import Final

from chatfiles.posix.atomic_file import replace_file_in
from chatfiles.workspace.publication.leftovers import PREFIX
from chatfiles.workspace.resumable.record import RECORD_NAME, Record, record_name

__all__ = [
    "progressed",
    "read_record",
    "record_ids",
    "remove_record",
    "sweep_unfinished",
    "write_record",
]

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
#: The most bytes of a record.
_LONGEST: Final = 256 * 1024
#: The name of a record that was not completely written.
_UNFINISHED = re.compile(re.escape(PREFIX) + r"[0-9a-f]{32}\.json\.tmp-[0-9a-f]+")
#: Seconds after which no process writes such a file any more.
_ABANDONED: Final = 60.0


def write_record(directory_fd: int, record: Record, now: float) -> None:
    """
    :param now: seconds since the epoch.
    :raise OSError: it could not be written; the old record is unchanged.
    """
    replace_file_in(directory_fd, os.fsencode(record_name(record.id)), record.encode())
    progressed(directory_fd, record.id, now)


def progressed(directory_fd: int, upload_id: str, now: float) -> None:
    """The upload has made progress at *now*, in seconds since the epoch."""
    with suppress(OSError):  # it was removed
        os.utime(record_name(upload_id), (now, now), dir_fd=directory_fd, follow_symlinks=False)


def read_record(directory_fd: int, upload_id: str) -> tuple[Record, float] | None:
    """
    :return: the record and the time of the last progress, in seconds since the epoch; ``None`` if
        there is none.
    :raise OSError: it cannot be read.
    """
    try:
        fd = os.open(record_name(upload_id), _READ, dir_fd=directory_fd)
    except FileNotFoundError:
        return None
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            return None
        return Record.decode(upload_id, os.pread(fd, _LONGEST, 0)), facts.st_mtime
    except ValueError:
        return None
    finally:
        os.close(fd)


def remove_record(directory_fd: int, upload_id: str) -> None:
    """
    :raise OSError: it could not be removed.
    """
    with suppress(FileNotFoundError):
        os.unlink(record_name(upload_id), dir_fd=directory_fd)


def record_ids(directory_fd: int) -> list[str]:
    """:return: the ids of all uploads that have a record."""
    found = map(RECORD_NAME.fullmatch, os.listdir(directory_fd))
    return [match[1] for match in found if match is not None]


def sweep_unfinished(directory_fd: int, now: float) -> None:
    """
    Remove the records that a killed process did not write completely.

    :param now: seconds since the epoch.
    """
    for name in filter(_UNFINISHED.fullmatch, os.listdir(directory_fd)):
        with suppress(OSError):
            facts = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
            if now - facts.st_mtime > _ABANDONED:
                os.unlink(name, dir_fd=directory_fd)
