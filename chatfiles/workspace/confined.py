"""
Opening what lies beneath a directory, with every symlink on the way refused (CONTRACT 5).

Two mechanisms give the same verdicts: ``openat2``, where the kernel resolves the whole path in one
step, and a walk with one ``openat`` per segment, for kernels and seccomp filters without it.

A regular file is opened in two steps: a descriptor that only names it (``O_PATH``), and, once
``fstat`` says that it is a regular file, one that reads it, reached through ``/proc/self/fd``.  So
no FIFO's writer is woken, no device is started, and no path is resolved twice.  Where there is no
``/proc`` the file is opened at once, ``O_NONBLOCK``, and judged afterwards.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Sequence
from functools import cache

from chatfiles.errors import (
    ChatfilesError,
    Forbidden,
    InvalidPath,
    NotARegularFile,
    NotFound,
    ReadFailed,
    Unavailable,
)

__all__ = [
    "Mechanism",
    "best_mechanism",
    "by_openat2",
    "by_walk",
    "file_not_found",
    "open_beneath",
    "open_directory",
    "open_regular",
    "refusal",
]

#: ``(root descriptor, segments, flags) → descriptor``; fails with `OSError`.
Mechanism = Callable[[int, Sequence[bytes], int], int]

#: Bytes of a path that the kernel takes, its NUL included.
PATH_MAX = 4096
#: How often a step is tried while others move things about; ``openat2`` then gives way to the walk.
RACES = 4

# linux/openat2.h; the number is the same on every architecture that Linux has gained since 5.6.
_OPENAT2 = 437
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08

_HANDLE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_READING = os.O_NONBLOCK | os.O_NOCTTY
_MAY_BE_ASKED = _HANDLE | _READING | os.O_NOFOLLOW
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})
_NOT_REGULAR = frozenset({errno.ELOOP, errno.EXDEV, errno.ENXIO, errno.ENODEV, errno.EISDIR})
_NO_PERMISSION = frozenset({errno.EACCES, errno.EPERM})
_NOT_NOW = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})


class _OpenHow(ctypes.Structure):
    _fields_ = tuple((field, ctypes.c_uint64) for field in ("flags", "mode", "resolve"))


_INT, _HOW = ctypes.c_int, ctypes.POINTER(_OpenHow)
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, _INT, ctypes.c_char_p, _HOW, ctypes.c_size_t)


@cache
def _how(flags: int) -> _OpenHow:
    # Without O_NOFOLLOW: together with O_PATH it would yield the symlink itself.
    kept = flags & ~os.O_NOFOLLOW
    return _OpenHow(kept, 0, _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS)


def by_openat2(root_fd: int, segments: Sequence[bytes], flags: int) -> int:
    """The mechanism in which the kernel resolves the whole path (Linux 5.6)."""
    path, how, races = b"/".join(segments), _how(flags), 0
    while races < RACES:
        fd = int(_syscall(_OPENAT2, root_fd, path, ctypes.byref(how), ctypes.sizeof(how)))
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        races += code == errno.EAGAIN
        if code not in (errno.EAGAIN, errno.EINTR):
            raise _error(code)
    return by_walk(root_fd, segments, flags)


def by_walk(root_fd: int, segments: Sequence[bytes], flags: int) -> int:
    """The mechanism that opens one segment after the other, following nothing."""
    parent = root_fd
    try:
        for segment in segments[:-1]:
            child = _step(parent, segment, _HANDLE)
            if parent != root_fd:
                os.close(parent)
            parent = child
        return _step(parent, segments[-1], flags)
    finally:
        if parent != root_fd:
            os.close(parent)


def _step(parent: int, segment: bytes, flags: int) -> int:
    only_names = flags & (os.O_PATH | os.O_DIRECTORY) == os.O_PATH
    for _ in range(RACES):
        try:
            fd = os.open(segment, flags | os.O_NOFOLLOW, dir_fd=parent)
        except NotADirectoryError:
            # O_DIRECTORY hides which it was; openat2 says ELOOP for a symlink.
            mode = os.stat(segment, dir_fd=parent, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                raise _error(errno.ELOOP) from None
            if not stat.S_ISDIR(mode):
                raise
            continue  # it was exchanged between the two calls
        try:
            if only_names and stat.S_ISLNK(os.fstat(fd).st_mode):
                raise _error(errno.ELOOP)
        except BaseException:
            os.close(fd)
            raise
        return fd
    raise _error(errno.EAGAIN)


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@cache
def best_mechanism() -> Mechanism:
    """
    :return: `by_openat2` where this kernel and its filters allow it, else `by_walk`.
    :raise OSError: it could not be found out now (no descriptors); asked again next time.
    """
    root = os.open(b"/", _HANDLE)
    try:
        os.close(by_openat2(root, (b".",), _HANDLE))
    except OSError as error:
        if error.errno in _NOT_NOW:
            raise
        return by_walk  # ENOSYS, or whatever a seccomp filter says
    finally:
        os.close(root)
    return by_openat2


@cache
def _reopens() -> bool:
    """Whether ``/proc/self/fd`` leads back to what a descriptor names."""
    handle = os.open(b"/", _HANDLE)
    try:
        return os.path.samestat(os.stat(_again(handle)), os.fstat(handle))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
    finally:
        os.close(handle)


def _again(handle: int) -> bytes:
    return b"/proc/self/fd/%d" % handle


def file_not_found() -> NotFound:
    """:return: what is said of a file that is missing, or that the caller may not know of."""
    return NotFound("file not found", code="file_not_found")


def refusal(error: OSError) -> ChatfilesError:
    """
    What a failure to open means to the caller (CONTRACT 5).

    ENAMETOOLONG, EILSEQ and EINVAL are a file system's word for a name that it cannot hold.  EAGAIN
    is a lease (``fcntl``) that another program is now asked to give up.
    """
    if error.errno in _MISSING:
        return file_not_found()
    if error.errno in _NOT_REGULAR:
        return NotARegularFile()
    if error.errno in _NO_PERMISSION:
        return Forbidden()
    if error.errno in _NOT_NOW:
        return Unavailable(retry_after=1)
    return ReadFailed()


def open_beneath(
    root_fd: int, segments: Sequence[bytes], flags: int, *, mechanism: Mechanism | None = None
) -> int:
    """
    Open what lies at *segments* beneath a directory; the caller owns the descriptor.

    Mounts are crossed; a symlink never is, nor opened.

    :param root_fd: a descriptor of the directory, ``O_PATH`` or open for reading.
    :param segments: names, at least one, none of them empty, ``.`` or ``..``.
    :param flags: ``O_RDONLY``, ``O_PATH``, ``O_DIRECTORY``; what makes them harmless is added.
    :param mechanism: `by_openat2` or `by_walk`; found out by itself when ``None``.
    :raise chatfiles.errors.InvalidPath: 400, a segment is not a name.
    :raise chatfiles.errors.NotFound: 404, missing, or below something that is not a directory.
    :raise chatfiles.errors.NotARegularFile: 400, a symlink anywhere, a socket, or no segments.
    :raise chatfiles.errors.Forbidden: 403.
    :raise chatfiles.errors.Unavailable: 503, out of descriptors or memory, or leased out.
    :raise chatfiles.errors.ReadFailed: 500, anything else that the kernel may say.
    """
    if flags & ~_MAY_BE_ASKED:
        raise ValueError("open_beneath opens for reading only")
    if not segments:
        raise NotARegularFile()
    length = 0
    for segment in segments:
        if segment in (b"", b".", b"..") or b"/" in segment or b"\0" in segment:
            raise InvalidPath()
        length += len(segment) + 1
    if length > PATH_MAX:
        raise file_not_found()
    wanted = (flags & ~_READING if flags & os.O_PATH else flags | _READING) | os.O_CLOEXEC
    try:
        return (mechanism or best_mechanism())(root_fd, segments, wanted)
    except OSError as error:
        raise refusal(error) from error


def open_regular(
    root_fd: int,
    segments: Sequence[bytes],
    *,
    mechanism: Mechanism | None = None,
    reopen: bool | None = None,
) -> tuple[int, os.stat_result]:
    """
    Open the regular file at *segments* beneath a directory, for reading.

    :param reopen: whether to go by way of ``/proc/self/fd``; found out by itself when ``None``.
    :return: the descriptor, which the caller owns, and what ``fstat`` says of it.
    :raise chatfiles.errors.ChatfilesError: as `open_beneath`; 400 for all but a regular file.
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
    handle = open_beneath(root_fd, segments, os.O_PATH, mechanism=mechanism)
    try:
        _require_regular(os.fstat(handle))
        return os.open(_again(handle), os.O_RDONLY | os.O_CLOEXEC | _READING)
    finally:
        os.close(handle)


def _require_regular(facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise NotARegularFile()


def open_directory(path: bytes, *, mechanism: Mechanism | None = None) -> int:
    """
    Open a directory of this machine, following no symlink on the whole way to it.

    :param path: absolute, without ``.``, ``..`` or doubled slashes.
    :return: an ``O_PATH`` descriptor, which the caller owns.
    :raise OSError: the directory is not there, or not one.
    """
    top = os.open(b"/", _HANDLE)
    segments = [segment for segment in path.split(b"/") if segment]
    if not segments:
        return top
    try:
        return (mechanism or best_mechanism())(top, segments, _HANDLE)
    finally:
        os.close(top)
