"""
The records of resumable uploads, as files in the directory of uploads.  All functions block.

The time of a record's last modification is that of the upload's last progress: the upload expires
some time after it.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import Final

from chatfiles.workspace.publication.unpublished_file import UnpublishedFile
from chatfiles.workspace.resumable.upload_record import RECORD_NAME, Record, record_name

__all__ = [
    "progressed",
    "read_record",
    "record_ids",
    "remove_record",
    "write_record",
]

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
#: The most bytes of a record.
_LONGEST: Final = 256 * 1024


def write_record(directory_fd: int, record: Record, now: float) -> None:
    """
    :param now: seconds since the epoch.
    :raise OSError: it could not be written; the old record is unchanged.
    """
    file = UnpublishedFile(directory_fd, unnamed=False)
    try:
        file.write(record.encode())
        file.complete()
        file.replace(record_name(record.id))
    finally:
        file.close()
    os.fsync(directory_fd)
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
