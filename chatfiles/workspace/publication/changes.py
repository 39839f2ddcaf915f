"""
Changes of names: a file is deleted, a directory is created, something is moved.  Nothing is
recursive.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from chatfiles.errors import (
    BadRequest,
    Conflict,
    NotADirectory,
    NotARegularFile,
    NotFound,
)
from chatfiles.posix.rename_noreplace import rename_new
from chatfiles.rules.conditional_requests import WriteConditions
from chatfiles.rules.entry_json import Kind, kind_of
from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.rules.write_request import Move
from chatfiles.workspace.files.open_beneath import file_not_found, is_a_directory
from chatfiles.workspace.files.write_targets import Target, Targets, write_refusal
from chatfiles.workspace.publication.publisher import Publisher

__all__ = ["Changes"]

_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
#: ``ENOTEMPTY`` on some file systems.
_NOT_EMPTY = frozenset({errno.ENOTEMPTY, errno.EEXIST})


class Changes:
    """
    All methods block, and raise `chatfiles.errors.ChatfilesError` if the change is refused.

    :param targets: decides what may be changed.
    :param publisher: knows the versions, and orders the changes.
    """

    def __init__(self, targets: Targets, publisher: Publisher) -> None:
        self._targets = targets
        self._publisher = publisher

    def delete(self, path: VirtualPath, directory: bool, conditions: WriteConditions) -> None:
        """
        Delete a regular file, a symlink or an empty directory.

        :param directory: whether the client means an empty directory, too.
        :param conditions: of the request.
        """
        self._targets.require_below(path)
        with self._open_existing(path) as target, self._publisher.locks.of(target.directory_fd):
            there = _existing(target)
            kind = kind_of(there.st_mode)
            if kind is Kind.DIRECTORY and not directory:
                raise is_a_directory()
            if kind is Kind.OTHER:
                raise NotARegularFile
            self._publisher.require(conditions, there)
            try:
                _remove(target, kind is Kind.DIRECTORY)
                target.sync()
            except OSError as error:
                raise _delete_refusal(error) from error

    def make_directory(self, path: VirtualPath, parents: bool) -> bool:
        """
        :param parents: whether to create missing directories above it, too.
        :return: whether it was created; false if it exists.
        """
        if self._targets.is_root(path):
            return False
        with self._open_parent(path, parents) as target:
            with self._publisher.locks.of(target.directory_fd):
                is_new = _make(target)
            target.keep_directories()
        return is_new

    def move(self, move: Move, conditions: WriteConditions) -> None:
        """
        Rename something, also to another directory.

        :param conditions: of what is moved.
        """
        for path in (move.origin, move.destination):
            self._targets.require_below(path)
        if move.destination.raw.startswith(move.origin.raw + b"/"):
            raise _below_itself()
        with (
            self._open_existing(move.origin) as origin,
            self._targets.open(move.destination) as destination,
            self._publisher.locks.of(origin.directory_fd, destination.directory_fd),
        ):
            there = _existing(origin)
            if kind_of(there.st_mode) is Kind.OTHER:
                raise NotARegularFile
            self._publisher.require(conditions, there)
            if move.origin.raw == move.destination.raw:
                return
            if stat.S_ISDIR(there.st_mode):
                self._require_movable(move)
            taken = destination.look()
            if taken is not None:
                _require_replaceable(there, taken, move.overwrite)
            try:
                _rename(origin, destination, replaces=taken is not None)
                if taken is not None and os.path.samestat(there, taken):
                    _remove_other_name(origin, destination)
                destination.sync()
                origin.sync()
            except OSError as error:
                raise _move_refusal(error) from error

    def _open_existing(self, path: VirtualPath) -> Target:
        """:return: as `Targets.open`; a missing parent only means that the file is missing."""
        try:
            return self._targets.open(path)
        except NotFound:
            raise file_not_found() from None

    def _open_parent(self, path: VirtualPath, parents: bool) -> Target:
        try:
            return self._targets.make(path) if parents else self._targets.open(path)
        except NotARegularFile as error:
            raise NotADirectory from error

    def _require_movable(self, move: Move) -> None:
        """:raise NotFound: a directory would take a denied file to a name that is served."""
        if any(map(self._targets.may_deny_below, (move.origin, move.destination))):
            raise file_not_found()


def _existing(target: Target) -> os.stat_result:
    there = target.look()
    if there is None:
        raise file_not_found()
    return there


def _remove(target: Target, is_directory: bool) -> None:
    remove = os.rmdir if is_directory else os.unlink
    remove(target.name, dir_fd=target.directory_fd)


def _make(target: Target) -> bool:
    """:return: whether the directory was created; false if it exists."""
    try:
        with suppress(FileExistsError):
            os.mkdir(target.name, 0o755, dir_fd=target.directory_fd)
            target.sync()
            return True
    except OSError as error:
        raise write_refusal(error) from error
    there = target.look()
    if there is None or not stat.S_ISDIR(there.st_mode):
        raise Conflict("exists and is not a directory", code="exists")
    return False


def _require_replaceable(there: os.stat_result, taken: os.stat_result, overwrite: bool) -> None:
    """:raise Conflict: 409, unless a file replaces a file, and the client wants it."""
    if not overwrite or not stat.S_ISREG(there.st_mode) or not stat.S_ISREG(taken.st_mode):
        raise _exists()


def _rename(origin: Target, destination: Target, *, replaces: bool) -> None:
    between = (origin.directory_fd, destination.directory_fd)
    if replaces:
        os.rename(origin.name, destination.name, src_dir_fd=between[0], dst_dir_fd=between[1])
    elif not rename_new(origin.name, destination.name, *between):
        if destination.look() is not None:  # without the kernel, another process can be faster
            raise _exists()
        _rename(origin, destination, replaces=True)


def _remove_other_name(origin: Target, destination: Target) -> None:
    """
    Remove the old name if it is left: ``rename`` does nothing between two hard links of one file.

    The directory is read, because both may be one name: through roots that overlap, or where case
    does not count.
    """
    readable_fd = os.open(".", _READ_DIRECTORY, dir_fd=origin.directory_fd)
    try:
        names = set(map(os.fsencode, os.listdir(readable_fd)))
        directories = map(os.fstat, (readable_fd, destination.directory_fd))
        is_one_directory = os.path.samestat(*directories)
        if is_one_directory and destination.name not in names - {origin.name}:
            return
        if origin.name in names:
            os.unlink(origin.name, dir_fd=readable_fd)
    finally:
        os.close(readable_fd)


def _exists() -> Conflict:
    return Conflict("destination exists", code="exists")


def _below_itself() -> BadRequest:
    return BadRequest("the destination is below the source", code="below_itself")


def _delete_refusal(error: OSError) -> Exception:
    if error.errno in _NOT_EMPTY:
        return Conflict("directory is not empty", code="directory_not_empty")
    if error.errno == errno.ENOENT:
        return file_not_found()
    return write_refusal(error)


def _move_refusal(error: OSError) -> Exception:
    if error.errno in _NOT_EMPTY:
        return _exists()
    if error.errno == errno.EXDEV:
        return Conflict("other file system", code="cross_device")
    if error.errno == errno.EINVAL:
        return _below_itself()
    if error.errno == errno.ENOENT:
        return file_not_found()
    return write_refusal(error)
