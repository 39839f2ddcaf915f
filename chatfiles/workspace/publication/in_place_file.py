"""
Writes files in place, for file systems on which a rename fails (``--write-in-place``).

The file is complete elsewhere, and copied.  This is not atomic: a reader may see a part of the new
file, and the old one is gone if the copy fails (reference/writes, "Writing in place").
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from chatfiles.errors import NotARegularFile
from chatfiles.model import FileFacts
from chatfiles.posix.atomic_file import write_all
from chatfiles.rules.conditional_requests import WriteConditions
from chatfiles.workspace.files.targets import Target
from chatfiles.workspace.publication.publisher import Published, Publisher

__all__ = ["copy_in_place"]

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
#: Errors of ``fsync`` on a file system that has none.
_NO_SYNC = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_READ = 1 << 20


def copy_in_place(
    publisher: Publisher,
    target: Target,
    source_fd: int,
    conditions: WriteConditions,
    mode: int | None = None,
) -> Published:
    """
    Copy a complete file to the name of a target.  The role's copies to one name wait for each
    other.  Blocks.

    :param publisher: checks the conditions.
    :param source_fd: the file, open for reading.
    :param conditions: of the request.
    :param mode: see `Publisher.mode_for`.
    :return: the file.
    :raise PreconditionFailed: a condition does not hold.
    :raise NotARegularFile: something else has the name, or another process has replaced the file.
    :raise OSError: a byte could not be stored; some file systems say so only at ``close``.  The
        file is removed.
    """
    with publisher.locks.of_name(target.directory_fd, target.name):
        there = target.look_at_file()
        publisher.require(conditions, there)
        bits = publisher.mode_for(mode, there)
        how = os.O_EXCL if there is None else os.O_TRUNC
        fd = os.open(target.name, _FLAGS | how, bits, dir_fd=target.directory_fd)
        _require_regular(fd)
        try:
            _fill(fd, source_fd, None if mode is None else bits)
        except OSError:
            with suppress(OSError):
                os.unlink(target.name, dir_fd=target.directory_fd)
            raise
        facts = target.look_at_file()
        if facts is None:
            raise NotARegularFile
        target.keep_directories()
        return publisher.published(FileFacts.of(facts), there is None)


def _require_regular(fd: int) -> None:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotARegularFile


def _fill(fd: int, source_fd: int, mode: int | None) -> None:
    """
    Copy the content, flush it, and close the file, also after an error.

    :raise OSError: a byte could not be stored.
    """
    try:
        if mode is not None:
            os.fchmod(fd, mode)
        offset = 0
        while data := os.pread(source_fd, _READ, offset):
            write_all(fd, data)
            offset += len(data)
        _sync(fd)
    except BaseException:
        with suppress(OSError):
            os.close(fd)
        raise
    os.close(fd)


def _sync(fd: int) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
