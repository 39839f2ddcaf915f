"""
Small files that appear whole, such as one that holds a secret.  A reader sees the old content or
the new one, never a part, also after a crash.

A file is written under a temporary name that begins with its own name.  All functions may block for
a short time: call them in a thread.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

__all__ = [
    "SELF",
    "Owner",
    "create_file",
    "remove_file",
    "replace_file",
    "sweep_temporary_files",
    "write_all",
]

#: The user id and the group id that own a new file or directory; -1 leaves the default.
Owner = tuple[int, int]
SELF: Owner = (-1, -1)

#: Separates a file's name from the random end of its temporary name.
_MARK: Final = b".tmp-"


def replace_file(path: bytes, content: bytes) -> None:
    """
    Write a file with mode 0600.  It replaces a file, or a symlink, of the same name.

    :raise OSError: it could not be written; a file of this name is unchanged.
    """
    with _open_parent(path) as (directory_fd, name):
        with _temporary_file(directory_fd, name, content, SELF) as temporary:
            os.rename(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
        os.fsync(directory_fd)


def create_file(path: bytes, content: bytes, owner: Owner = SELF) -> bool:
    """
    Write a file with mode 0600 where there is none.

    :param owner: the new file's owner.
    :return: whether it was created; ``False`` if another process created a file of this name, or
        swept the temporary one.
    :raise OSError: it could not be written.
    """
    with _open_parent(path) as (directory_fd, name):
        with _temporary_file(directory_fd, name, content, owner) as temporary:
            try:
                os.link(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
            except (FileExistsError, FileNotFoundError):
                return False
        os.fsync(directory_fd)
    return True


def remove_file(path: bytes) -> None:
    """
    Remove a file; it stays removed after a crash.

    :raise OSError: it could not be removed, or does not exist.
    """
    with _open_parent(path) as (directory_fd, name):
        os.unlink(name, dir_fd=directory_fd)
        os.fsync(directory_fd)


def sweep_temporary_files(path: bytes) -> None:
    """
    Remove the temporary files of processes that were killed while they wrote *path*.

    :raise OSError: the directory cannot be read.
    """
    with _open_parent(path) as (directory_fd, name):
        is_temporary = re.compile(re.escape(name + _MARK) + rb"[0-9a-f]+").fullmatch
        for entry in filter(is_temporary, map(os.fsencode, os.listdir(directory_fd))):
            with suppress(FileNotFoundError, IsADirectoryError, PermissionError):
                os.unlink(entry, dir_fd=directory_fd)


def write_all(fd: int, data: bytes) -> None:
    """
    Write all of *data*.

    :raise OSError: the data could not be written completely.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


@contextmanager
def _open_parent(path: bytes) -> Iterator[tuple[int, bytes]]:
    """:return: a descriptor of the directory that holds *path*, and the name in it."""
    directory, name = os.path.split(path)
    fd = os.open(directory or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd, name
    finally:
        os.close(fd)


@contextmanager
def _temporary_file(
    directory_fd: int, name: bytes, content: bytes, owner: Owner
) -> Iterator[bytes]:
    """:return: the name of a complete file; it is removed at the end if it still exists."""
    temporary = name + _MARK + os.urandom(8).hex().encode("ascii")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=directory_fd)
    try:
        try:
            os.fchmod(fd, 0o600)  # whatever the umask is
            if owner != SELF:
                os.fchown(fd, *owner)
            write_all(fd, content)
            os.fsync(fd)
        finally:
            os.close(fd)
        yield temporary
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory_fd)
