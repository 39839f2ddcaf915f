"""
Opens the places that clients want to change.  No other module decides what a client may change.

A place is a name in an open directory.  The directory is resolved once, beneath its root and
without following a symlink; everything after that happens relative to its descriptor.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from chatfiles.errors import (
    NOT_NOW,
    ChatfilesError,
    Conflict,
    Forbidden,
    InvalidPath,
    NoSpace,
    NotARegularFile,
    NotFound,
    TooLarge,
    Unavailable,
    WriteFailed,
)
from chatfiles.posix.openat2 import HANDLE
from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.rules.writable_prefixes import WritablePrefixes, not_writable
from chatfiles.workspace.files.open_beneath import is_a_directory, open_beneath, refusal
from chatfiles.workspace.files.store import FileStore

__all__ = ["Target", "Targets", "parent_not_found", "sync_directory", "write_refusal"]

_LISTING = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def parent_not_found() -> NotFound:
    """:return: the error for a path whose parent directory does not exist."""
    return NotFound("parent directory not found", code="parent_not_found")


_REFUSALS: Final[dict[int, Callable[[], ChatfilesError]]] = {
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
    errno.EACCES: Forbidden,
    errno.EPERM: Forbidden,
    errno.EROFS: Forbidden,
    # the parent directory has been removed
    errno.ENOENT: parent_not_found,
    errno.ENOTDIR: parent_not_found,
    # another process has put something else there
    errno.EISDIR: NotARegularFile,
    errno.ELOOP: NotARegularFile,
    errno.ENXIO: NotARegularFile,
    # a mount point, or a program that runs
    errno.EBUSY: lambda: Conflict("it is in use by the system", code="busy"),
    errno.ETXTBSY: lambda: Conflict("it is in use by the system", code="busy"),
    # the file system has no such names, or no such large files
    errno.ENAMETOOLONG: InvalidPath,
    errno.EILSEQ: InvalidPath,
    errno.EFBIG: lambda: TooLarge("file is too large for the file system", code="file_too_large"),
}


def write_refusal(error: OSError) -> ChatfilesError:
    """
    :param error: of a system call that writes a file, or changes a name.
    :return: the error that a client receives.
    """
    code = error.errno
    if code in NOT_NOW:
        return Unavailable(retry_after=1)
    return _REFUSALS.get(code or 0, WriteFailed)()


def sync_directory(fd: int) -> None:
    """
    Flush the names in a directory to the disk, unless the role may not read it.

    :param fd: the directory; it may be ``O_PATH``.
    :raise OSError: an I/O error.
    """
    try:
        readable = os.open(b".", _LISTING, dir_fd=fd)
    except PermissionError:
        return
    try:
        os.fsync(readable)
    finally:
        os.close(readable)


class Target:
    """
    A name in a directory, below a writable prefix.  As a context manager, it closes itself.

    :param path: its virtual path.
    :param directory_fd: the directory, ``O_PATH``.
    :param store: knows the role's credentials.
    :param made: directories that were created for it: descriptors of their parents, and names.
    """

    __slots__ = ("_made", "_store", "directory_fd", "path")

    def __init__(
        self,
        path: VirtualPath,
        directory_fd: int,
        store: FileStore,
        made: Sequence[tuple[int, bytes]] = (),
    ) -> None:
        self.path = path
        self.directory_fd = directory_fd
        self._store = store
        self._made = list(made)

    @property
    def name(self) -> bytes:
        """The last segment of its path."""
        return self.path.name

    def look(self) -> os.stat_result | None:
        """
        Look at what has the name, without following a symlink.  Blocks.

        :return: the result of ``lstat``; ``None`` if nothing has it.
        :raise NotFound: it is one of the role's own credentials.
        :raise chatfiles.errors.ChatfilesError: the system could not tell.
        """
        try:
            facts = os.stat(self.name, dir_fd=self.directory_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise refusal(error) from error
        self._store.require_no_credential(facts)
        return facts

    def look_at_file(self) -> os.stat_result | None:
        """
        As `look`, for a path that must name a regular file, or nothing.

        :raise NotARegularFile: it names something else.
        """
        facts = self.look()
        if facts is not None and stat.S_ISDIR(facts.st_mode):
            raise is_a_directory()
        if facts is not None and not stat.S_ISREG(facts.st_mode):
            raise NotARegularFile
        return facts

    def sync(self) -> None:
        """Flush the names in its directory to the disk; see `sync_directory`."""
        sync_directory(self.directory_fd)

    def keep_directories(self) -> None:
        """Keep the directories that were created for it."""
        while self._made:
            os.close(self._made.pop()[0])

    def close(self) -> None:
        """Close it, and remove the directories that were created for it and are empty."""
        while self._made:
            parent_fd, name = self._made.pop()
            with suppress(OSError):
                os.rmdir(name, dir_fd=parent_fd)
            os.close(parent_fd)
        if self.directory_fd >= 0:
            os.close(self.directory_fd)
            self.directory_fd = -1

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Targets:
    """
    Opens targets.  All methods block, but those that only look at a path: `require_below`,
    `require_file` and `may_deny_below`.

    :param store: opens the roots, and knows the deny rules and the credentials.
    :param prefixes: below which clients may write.
    """

    def __init__(self, store: FileStore, prefixes: WritablePrefixes) -> None:
        self._store = store
        self.prefixes = prefixes

    def require_below(self, path: VirtualPath) -> None:
        """
        Check the path alone, without access to a file system.

        :raise Forbidden: 403, it is not below a prefix.
        """
        self.prefixes.require(path)
        if self.prefixes.include(path):
            raise not_writable()

    def require_file(self, path: VirtualPath) -> None:
        """
        As `require_below`, for a path at which a file is to be written.

        :raise NotARegularFile: 400, it is a prefix itself.
        """
        self.prefixes.require(path)
        if self.prefixes.include(path):
            raise NotARegularFile(detail="it is a directory in which files can be written")

    def is_root(self, path: VirtualPath) -> bool:
        """
        :return: whether a path is a root, whose directory has been found.
        :raise Forbidden: 403, it is below no prefix.
        :raise chatfiles.errors.ChatfilesError: the root cannot be opened.
        """
        self.prefixes.require(path)
        if not path.segments:
            os.close(self._store.open_root_of(path))
        return not path.segments

    def open(self, path: VirtualPath) -> Target:
        """
        Open the parent directory of a path.

        :param path: below a prefix, or a prefix that is no root.
        :return: the target, to be closed after use.
        :raise Forbidden: 403, it is below no prefix, or the system denies access.
        :raise NotFound: 404, a rule denies the path; with the code ``parent_not_found`` if its
            parent is missing, or a regular file is on the way.
        :raise NotARegularFile: 400, a symlink is on the way.
        :raise chatfiles.errors.ChatfilesError: the root or its file system fails.
        """
        root_fd = self._open_root(path)
        try:
            directory_fd = _open(root_fd, path.segments[:-1])
        except NotFound:
            raise parent_not_found() from None
        finally:
            os.close(root_fd)
        return Target(path, directory_fd, self._store)

    def make(self, path: VirtualPath) -> Target:
        """
        As `open`, but create the directories that are missing, with mode 0755 without the bits of
        the umask.  `Target.close` removes them again, unless `Target.keep_directories` was called.
        """
        target = Target(path, self._open_root(path), self._store)
        made: list[tuple[int, bytes]] = []
        try:
            for segment in path.segments[:-1]:
                below = _open_or_make(target.directory_fd, segment, made)
                os.close(target.directory_fd)
                target.directory_fd = below
        except BaseException:
            target._made = made
            target.close()
            raise
        return Target(path, target.directory_fd, self._store, made)

    def may_deny_below(self, path: VirtualPath) -> bool:
        """See `FileStore.may_deny_below`."""
        return self._store.may_deny_below(path)

    def _open_root(self, path: VirtualPath) -> int:
        self.prefixes.require(path)
        return self._store.open_root_of(path)


def _open(directory_fd: int, segments: Sequence[bytes]) -> int:
    """:return: a directory, ``O_PATH``."""
    if not segments:
        return os.dup(directory_fd)
    return open_beneath(directory_fd, segments, HANDLE)


def _open_or_make(directory_fd: int, segment: bytes, made: list[tuple[int, bytes]]) -> int:
    try:
        return _open(directory_fd, [segment])
    except NotFound:
        try:
            os.mkdir(segment, 0o755, dir_fd=directory_fd)
        except FileExistsError:
            pass  # another process was faster, or it is a regular file
        except OSError as error:
            raise write_refusal(error) from error
        else:
            made.append((os.dup(directory_fd), segment))
            sync_directory(directory_fd)
    try:
        return _open(directory_fd, [segment])
    except NotFound:
        raise parent_not_found() from None
