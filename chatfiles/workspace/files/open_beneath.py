"""
Opens files beneath a directory, refuses every symlink in the path, and maps failures to the errors
that clients receive.

A regular file is opened in two steps.  The first descriptor only names the file (``O_PATH``).  If
``fstat`` reports a regular file, a second descriptor for reading is opened through
``/proc/self/fd``.  So opening never wakes the writer of a FIFO, never starts a device, and never
resolves a path twice.  Without ``/proc`` the file is opened directly with ``O_NONBLOCK`` and
checked afterwards.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from functools import cache

from chatfiles.errors import (
    NOT_NOW,
    ChatfilesError,
    FileBusy,
    Forbidden,
    InvalidPath,
    NotADirectory,
    NotARegularFile,
    NotFound,
    ReadFailed,
    Unavailable,
)
from chatfiles.posix.openat2 import HANDLE, Mechanism, best_mechanism

__all__ = [
    "file_not_found",
    "is_a_directory",
    "open_anything",
    "open_beneath",
    "open_directory",
    "open_for_listing",
    "open_regular",
    "proc_path",
    "refusal",
    "reopen_regular",
    "top",
]

#: Maximum bytes of a path for the kernel, its NUL included.
PATH_MAX = 4096

_READING = os.O_NONBLOCK | os.O_NOCTTY
_REOPENING = os.O_RDONLY | os.O_CLOEXEC | _READING
_LISTING = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ALLOWED_FLAGS = HANDLE | _READING | os.O_NOFOLLOW
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})
_NOT_REGULAR = frozenset({errno.ELOOP, errno.EXDEV, errno.ENXIO, errno.ENODEV, errno.EISDIR})
_NO_PERMISSION = frozenset({errno.EACCES, errno.EPERM})


@cache
def _reopens() -> bool:
    """Whether ``/proc/self/fd`` can reopen a descriptor."""
    handle = os.open(b"/", HANDLE)
    try:
        return os.path.samestat(os.stat(_proc_path(handle)), os.fstat(handle))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
    finally:
        os.close(handle)


def _proc_path(handle: int) -> bytes:
    return b"/proc/self/fd/%d" % handle


def proc_path(fd: int) -> bytes | None:
    """
    :param fd: an open descriptor, which may be ``O_PATH``.
    :return: a path that opens the same file or directory again; ``None`` without ``/proc``.
    """
    return _proc_path(fd) if _reopens() else None


def file_not_found() -> NotFound:
    """:return: the error for a file that is missing, or hidden from the client."""
    return NotFound("file not found", code="file_not_found")


def is_a_directory() -> NotARegularFile:
    """:return: the error for a directory, where a file is needed."""
    return NotARegularFile(detail="it is a directory")


def refusal(error: OSError) -> ChatfilesError:
    """
    ENAMETOOLONG, EILSEQ and EINVAL mean that the file system cannot store such a name.  EAGAIN
    means a lease (``fcntl``) that another program has been asked to release.

    :param error: the error of a failed open.
    :return: the error that a client receives.
    """
    if error.errno in _MISSING:
        return file_not_found()
    if error.errno in _NOT_REGULAR:
        return NotARegularFile()
    if error.errno in _NO_PERMISSION:
        return Forbidden()
    if error.errno == errno.EAGAIN:
        return FileBusy(retry_after=1)
    if error.errno in NOT_NOW:
        return Unavailable(retry_after=1)
    return ReadFailed()


def open_beneath(
    root_fd: int, segments: Sequence[bytes], flags: int, *, mechanism: Mechanism | None = None
) -> int:
    """
    Open the file or directory at *segments* beneath a directory.

    Mounts are crossed.  Symlinks are neither followed nor opened.

    :param root_fd: a descriptor of the directory, ``O_PATH`` or open for reading.
    :param segments: one or more names, bytes; none is empty, ``.`` or ``..``.
    :param flags: ``O_RDONLY``, ``O_PATH``, ``O_DIRECTORY``; safe flags are added.
    :param mechanism: `by_openat2` or `by_walk`; the best one if ``None``.
    :return: a descriptor, to be closed after use.
    :raise ValueError: *flags* would allow writing.
    :raise chatfiles.errors.InvalidPath: 400: a segment is not a name.
    :raise chatfiles.errors.NotFound: 404: the file is missing, or a parent is not a directory.
    :raise chatfiles.errors.NotARegularFile: 400: the path has a symlink or no segments, or the file
        is a socket.
    :raise chatfiles.errors.Forbidden: 403: the system denies access.
    :raise chatfiles.errors.Unavailable: 503: there are no free descriptors or no memory, or another
        program has a lease.
    :raise chatfiles.errors.ReadFailed: 500: any other error of the kernel.
    """
    if flags & ~_ALLOWED_FLAGS:
        raise ValueError("open_beneath opens for reading only")
    if not segments:
        raise is_a_directory()
    _check_segments(segments)
    wanted = (flags & ~_READING if flags & os.O_PATH else flags | _READING) | os.O_CLOEXEC
    try:
        return (mechanism or best_mechanism())(root_fd, segments, wanted)
    except OSError as error:
        raise refusal(error) from error


def _check_segments(segments: Sequence[bytes]) -> None:
    length = 0
    for segment in segments:
        if segment in (b"", b".", b"..") or b"/" in segment or b"\0" in segment:
            raise InvalidPath()
        length += len(segment) + 1
    if length > PATH_MAX:
        raise file_not_found()


def open_anything(
    root_fd: int, segments: Sequence[bytes], *, mechanism: Mechanism | None = None
) -> int:
    """
    Name whatever lies at *segments* beneath a directory, without opening it: also a symlink.  See
    `open_beneath` for the arguments.

    :return: an ``O_PATH`` descriptor, to be closed after use.
    :raise chatfiles.errors.ChatfilesError: as `open_beneath`; 400 for a symlink before the end.
    """
    _check_segments(segments)
    above = root_fd
    if len(segments) > 1:
        above = open_beneath(root_fd, segments[:-1], HANDLE, mechanism=mechanism)
    try:
        return os.open(segments[-1], os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    except OSError as error:
        raise refusal(error) from error
    finally:
        if above != root_fd:
            os.close(above)


def open_for_listing(
    root_fd: int, segments: Sequence[bytes], *, mechanism: Mechanism | None = None
) -> int:
    """
    Open the directory at *segments* beneath a directory, so that its names can be read.  See
    `open_beneath` for the arguments.

    :param segments: may be empty, for the directory itself.
    :return: a descriptor, to be closed after use.
    :raise chatfiles.errors.ChatfilesError: as `open_beneath`; 400 if it is not a directory.
    """
    try:
        return _open_for_listing(root_fd, segments, mechanism)
    except NotARegularFile as error:
        raise NotADirectory from error
    except OSError as error:
        raise refusal(error) from error


def _open_for_listing(root_fd: int, segments: Sequence[bytes], mechanism: Mechanism | None) -> int:
    if not segments:
        if (path := proc_path(root_fd)) is not None:
            return os.open(path, _LISTING)
        return os.open(b".", _LISTING, dir_fd=root_fd)
    try:
        return open_beneath(root_fd, segments, os.O_DIRECTORY, mechanism=mechanism)
    except NotFound:
        with suppress(NotFound):
            os.close(open_anything(root_fd, segments, mechanism=mechanism))
            raise NotADirectory from None
        raise


def open_regular(
    root_fd: int,
    segments: Sequence[bytes],
    *,
    mechanism: Mechanism | None = None,
    reopen: bool | None = None,
) -> tuple[int, os.stat_result]:
    """
    Open the regular file at *segments* beneath a directory, for reading.  See `open_beneath` for
    the other arguments.

    :param reopen: whether to open through ``/proc/self/fd``; detected if ``None``.
    :return: a descriptor, to be closed after use, and its ``fstat`` result.
    :raise chatfiles.errors.ChatfilesError: as `open_beneath`; 400 if it is not a regular file.
    """
    try:
        fd = _open_for_reading(
            root_fd, segments, mechanism, _reopens() if reopen is None else reopen
        )
        try:
            facts = os.fstat(fd)
            _require_regular(facts)
        except BaseException:
            os.close(fd)
            raise
    except OSError as error:
        raise refusal(error) from error
    return fd, facts


def _open_for_reading(
    root_fd: int, segments: Sequence[bytes], mechanism: Mechanism | None, reopen: bool
) -> int:
    if not reopen:
        return open_beneath(root_fd, segments, os.O_RDONLY, mechanism=mechanism)
    return reopen_regular(open_beneath(root_fd, segments, os.O_PATH, mechanism=mechanism))[0]


def reopen_regular(handle: int) -> tuple[int, os.stat_result]:
    """
    Open a regular file for reading.

    :param handle: an ``O_PATH`` descriptor of it, which is closed.
    :return: a descriptor, to be closed after use, and the ``fstat`` result of *handle*.
    :raise OSError: it cannot be opened.
    :raise chatfiles.errors.NotARegularFile: it is something else.
    """
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            _require_regular(facts)
        return os.open(_proc_path(handle), _REOPENING), facts
    finally:
        os.close(handle)


def _require_regular(facts: os.stat_result) -> None:
    if stat.S_ISDIR(facts.st_mode):
        raise is_a_directory()
    if not stat.S_ISREG(facts.st_mode):
        raise NotARegularFile()


def open_directory(path: bytes, *, mechanism: Mechanism | None = None) -> int:
    """
    Open a directory by its path on this machine, without following any symlink.

    :param path: absolute, without ``.``, ``..`` or doubled slashes.
    :param mechanism: as for `open_beneath`.
    :return: an ``O_PATH`` descriptor, to be closed after use.
    :raise OSError: the directory is missing, or is not a directory.
    """
    segments = [segment for segment in path.split(b"/") if segment]
    if not segments:
        return os.open(b"/", HANDLE)
    return (mechanism or best_mechanism())(top(), segments, HANDLE)


@cache
def top() -> int:
    """:return: a descriptor of the machine's root directory, which stays open."""
    return os.open(b"/", HANDLE)
