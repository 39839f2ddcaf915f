"""
Resolves a path beneath a directory, and refuses every symlink in the path.

Two mechanisms give the same results.  With ``openat2`` the kernel resolves the whole path in one
step.  The walk makes one ``openat`` call per segment, for kernels and seccomp filters that have no
``openat2``.  Two further mechanisms are for the reactor thread, which must not wait for a disk:
they give a result only if the kernel has it in memory.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from chatfiles.errors import NOT_NOW

__all__ = [
    "HANDLE",
    "Mechanism",
    "WouldWait",
    "best_mechanism",
    "by_cache",
    "by_cache_across",
    "by_openat2",
    "by_walk",
    "cache_answers",
]

#: ``(root descriptor, segments, flags) → descriptor``; raises `OSError`.
Mechanism = Callable[[int, Sequence[bytes], int], int]

#: Flags of a descriptor that only names a directory.
HANDLE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
#: How often a step is retried while another process renames files; after that, the walk is used.
RACES = 4

# linux/openat2.h; the number is the same on every architecture that Linux has gained since 5.6.
_OPENAT2 = 437
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH, _CACHED = 0x01, 0x02, 0x04, 0x08, 0x20
_CONFINED = _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS


class _OpenHow(ctypes.Structure):
    _fields_ = tuple((field, ctypes.c_uint64) for field in ("flags", "mode", "resolve"))


_INT, _HOW = ctypes.c_int, ctypes.POINTER(_OpenHow)
_HOW_BYTES = ctypes.sizeof(_OpenHow)
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, _INT, ctypes.c_char_p, _HOW, ctypes.c_size_t)


class WouldWait(Exception):
    """The kernel does not have the result in memory: retry in a thread, which may block."""


@cache
def _how(flags: int, resolve: int) -> Any:
    """:return: a reference to the struct of these values."""
    # Without O_NOFOLLOW: together with O_PATH it would yield the symlink itself.
    return ctypes.byref(_OpenHow(flags & ~os.O_NOFOLLOW, 0, resolve))


def by_openat2(root_fd: int, segments: Sequence[bytes], flags: int) -> int:
    """
    Let the kernel resolve the whole path (Linux 5.6).

    :param root_fd: the directory.
    :param segments: of the path, at least one.
    :param flags: of ``open``.
    :return: the descriptor.
    :raise OSError: it failed; ``ELOOP`` for a symlink.
    """
    how, races = _how(flags, _CONFINED), 0
    while races < RACES:
        fd = int(_syscall(_OPENAT2, root_fd, b"/".join(segments), how, _HOW_BYTES))
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        races += code == errno.EAGAIN
        if code not in (errno.EAGAIN, errno.EINTR):
            raise _error(code)
    return by_walk(root_fd, segments, flags)


def by_cache(root_fd: int, segments: Sequence[bytes], flags: int) -> int:
    """
    Resolve a path from the kernel's cache only (Linux 5.12).  It crosses no mount point, because
    the mounted file system may block.  Parameters and result are those of `by_openat2`.

    :raise WouldWait: the path is not cached, or crosses a mount point.
    :raise OSError: it failed.
    """
    return _from_cache(root_fd, segments, _how(flags, _CONFINED | _CACHED | _NO_XDEV))


def by_cache_across(root_fd: int, segments: Sequence[bytes], flags: int) -> int:
    """As `by_cache`, but it crosses mount points.  Check the descriptor before you use it."""
    return _from_cache(root_fd, segments, _how(flags, _CONFINED | _CACHED))


def _from_cache(root_fd: int, segments: Sequence[bytes], how: Any) -> int:
    fd = int(_syscall(_OPENAT2, root_fd, b"/".join(segments), how, _HOW_BYTES))
    if fd >= 0:
        return fd
    code = ctypes.get_errno()
    if code in (errno.EAGAIN, errno.EINTR, errno.EXDEV):
        raise WouldWait
    raise _error(code)


def by_walk(root_fd: int, segments: Sequence[bytes], flags: int) -> int:
    """
    Open one segment after the other, and follow no symlink.  Parameters, result and errors are
    those of `by_openat2`.
    """
    parent = root_fd
    try:
        for segment in segments[:-1]:
            child = _step(parent, segment, HANDLE)
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
            # O_DIRECTORY reports a symlink as ENOTDIR; openat2 reports ELOOP.
            mode = os.stat(segment, dir_fd=parent, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                raise _error(errno.ELOOP) from None
            if not stat.S_ISDIR(mode):
                raise
            continue  # another process replaced it between the two calls
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
    :return: `by_openat2` if the kernel and its seccomp filters allow it, else `by_walk`.
    :raise OSError: resources for the test are lacking, such as a descriptor; the next call tests
        again.
    """
    root = os.open(b"/", HANDLE)
    try:
        os.close(by_openat2(root, (b".",), HANDLE))
    except OSError as error:
        if error.errno in NOT_NOW:
            raise
        return by_walk  # ENOSYS, or the error of a seccomp filter
    finally:
        os.close(root)
    return by_openat2


@cache
def cache_answers() -> bool:
    """
    :return: whether `by_cache` works on this kernel.
    :raise OSError: as `best_mechanism`.
    """
    if best_mechanism() is not by_openat2:
        return False
    root = os.open(b"/", HANDLE)
    try:
        os.close(by_cache(root, (b".",), HANDLE))
    except WouldWait:
        return True
    except OSError as error:
        if error.errno in NOT_NOW:
            raise
        return False  # EINVAL: the kernel does not know the flag
    finally:
        os.close(root)
    return True
