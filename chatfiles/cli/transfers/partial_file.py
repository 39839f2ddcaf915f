"""
The ``.part`` file of an interrupted download: ``NAME.part`` beside ``NAME``.

While a download runs, its file has a unique temporary name, so that two downloads never write to
one file.  `PartialFile.take` renames ``NAME.part`` to that name, and `PartialFile.put` renames it
back.  A download holds a lock on its file, so that no other process renames what is being written.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from chatfiles.cli.transfers.local_place import Place
from chatfiles.cli.transfers.partial_record import (
    TAIL_LIMIT,
    PartialRecord,
    Seal,
    Version,
    append_record,
    read_record,
)

__all__ = ["PartialFile", "Taken", "lock"]

SUFFIX = b".part"
#: Maximum bytes of a file's name.
NAME_MAX = 255
#: Maximum bytes of one read.
BLOCK = 1024 * 1024

_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True)
class Taken:
    """
    The ``.part`` file of an earlier download, under the name of this one.

    :param file: open for writing behind the bytes that were received.
    :param record: describes them.
    :param digest: the SHA-256 of these bytes, to be updated with those that follow.
    """

    file: BinaryIO
    record: PartialRecord
    digest: hashlib._Hash


class PartialFile:
    """
    The ``.part`` file of one target.

    :param target: the place of the complete file.
    :param source: the URL of the file.
    :param seal: see `chatfiles.cli.transfers.partial_record`.
    :ivar place: the place of the ``.part`` file.
    """

    def __init__(self, target: Place, source: str, seal: Seal) -> None:
        name = os.path.basename(target.name)
        self.place = target.beside(name[: NAME_MAX - len(SUFFIX)] + SUFFIX)
        self._source = source
        self._seal = seal

    def take(self, temporary: Place) -> Taken | None:
        """
        Rename the ``.part`` file to *temporary*, if it holds the beginning of this file.

        :param temporary: the name of an empty file of this process, which is replaced.
        :return: the file; ``None`` if there is none that can be continued.
        :raise OSError: it cannot be renamed, or another program has just replaced it.
        """
        file = _open(self.place)
        if file is None:
            return None
        record = self._usable(file)
        digest = None if record is None else _digest(file, record.size)
        if record is None or digest is None or digest.hexdigest() != record.sha256:
            file.close()
            return None
        try:
            self._rename(file, temporary)
            file.truncate(record.size)
        except BaseException:
            file.close()
            raise
        return Taken(file, record, digest)

    def put(self, file: BinaryIO, temporary: Place, record: PartialRecord) -> bool:
        """
        Give an interrupted download the name of the ``.part`` file.

        :param file: is locked, and holds exactly the bytes that were received.
        :param temporary: its present name.
        :param record: describes these bytes.
        :return: whether the bytes are kept, or more of the same version; ``False`` if the name
            belongs to another file, or another process is using it.
        :raise OSError: the file cannot be written or renamed.
        """
        file.seek(record.size)
        rest = memoryview(append_record(record, self._seal))
        while rest:
            rest = rest[file.write(rest) :]
        try:
            if temporary.rename_new(self.place):
                return True
        except FileExistsError:
            pass
        return self._replace(temporary, record)

    def discard(self) -> None:
        """Remove the ``.part`` file, if it belongs to this source: the complete file is there."""
        file = _open(self.place)
        if file is None:
            return
        with file, suppress(OSError):
            if self._usable(file):
                self.place.unlink()

    def describe(self, version: Version, size: int, digest: hashlib._Hash) -> PartialRecord:
        """:return: the record of the first *size* bytes of *version*."""
        return PartialRecord(self._source, version.etag, version.total, size, digest.hexdigest())

    def _replace(self, temporary: Place, record: PartialRecord) -> bool:
        """Replace a file that an earlier download has left, and nothing else."""
        if self.place.exists():
            there = _open(self.place)
            if there is None:
                return False
            with there:
                other, has_form = self._read(there)
                if not has_form:
                    return False
                if other is None or not _covers(other, record):
                    temporary.rename(self.place)
                return True
        temporary.rename(self.place)  # no flags of renameat2 here
        return True

    def _usable(self, file: BinaryIO) -> PartialRecord | None:
        record, _ = self._read(file)
        if record is None or record.source != self._source:
            return None
        return record if 0 < record.size < record.total else None

    def _read(self, file: BinaryIO) -> tuple[PartialRecord | None, bool]:
        length = os.fstat(file.fileno()).st_size
        file.seek(max(0, length - TAIL_LIMIT))
        return read_record(file.read(TAIL_LIMIT), length, self._seal)

    def _rename(self, file: BinaryIO, temporary: Place) -> None:
        self.place.rename(temporary)
        if not os.path.samestat(temporary.status(), os.fstat(file.fileno())):
            with suppress(FileExistsError):
                temporary.rename_new(self.place)
            raise OSError(errno.EBUSY, "another program replaces the .part file")


def _covers(one: PartialRecord, other: PartialRecord) -> bool:
    """:return: whether *one* has all bytes that *other* has."""
    same_file = (one.source, one.version) == (other.source, other.version)
    return same_file and one.size >= other.size


def lock(file: BinaryIO) -> bool:
    """:return: whether this process alone has locked the file now."""
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process has locked it, or its file system has no locks
        return False
    return True


def _open(place: Place) -> BinaryIO | None:
    """
    :return: the file, locked, if it is a regular file that only this user can write; otherwise
        ``None``.
    """
    try:
        file = os.fdopen(place.open(_OPEN), "r+b", buffering=0)
    except OSError:
        return None
    status = os.fstat(file.fileno())
    private = status.st_uid == os.geteuid() and not status.st_mode & 0o022
    if stat.S_ISREG(status.st_mode) and private and status.st_nlink == 1 and lock(file):
        return file
    file.close()
    return None


def _digest(file: BinaryIO, size: int) -> hashlib._Hash | None:
    """:return: the SHA-256 of the first *size* bytes; ``None`` if there are fewer."""
    digest = hashlib.sha256()
    file.seek(0)
    while size:
        block = file.read(min(size, BLOCK))
        if not block:
            return None
        digest.update(block)
        size -= len(block)
    return digest
