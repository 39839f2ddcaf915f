"""
Writes files in place, for file systems on which a rename fails (``--write-in-place``).

The file is complete elsewhere, and copied.  This is not atomic: a reader may see a part of the new
file, and the old one is gone if the copy fails (reference/writes, "Writing in place").
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from chatfiles.errors import NotARegularFile
from chatfiles.model import FileFacts
from chatfiles.posix.atomic_file import write_all
from chatfiles.rules.conditional_requests import WriteConditions
from chatfiles.workspace.files.write_targets import Target
from chatfiles.workspace.publication.publisher import Published, Publisher

__all__ = ["copy_in_place"]

_WRITE = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
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
        fd = _create(target, bits) if there is None else _empty(target, there)
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


def _create(target: Target, mode: int) -> int:
    how = _WRITE | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    return os.open(target.name, how, mode, dir_fd=target.directory_fd)


def _empty(target: Target, there: os.stat_result) -> int:
    """
    Open the file that was looked at, without its content.

    :raise NotARegularFile: another one has the name now, which is left as it is.
    """
    try:
        looked_fd = os.open(target.name, _LOOK, dir_fd=target.directory_fd)
    except FileNotFoundError:
        raise NotARegularFile from None
    try:
        if not os.path.samestat(os.fstat(looked_fd), there):
            raise NotARegularFile
        return os.open(f"/proc/self/fd/{looked_fd}", _WRITE | os.O_TRUNC)
    finally:
        os.close(looked_fd)


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
