"""
Distinguishes local file systems from remote ones.

On a local disk, the reactor thread may call ``fstat``, and may read what the kernel has cached.  On
a network or FUSE file system, the same calls can block until the remote server or the FUSE process
responds.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re

__all__ = ["TICK_NS", "device", "is_local", "is_on_disk", "mount_points", "reads_without_waiting"]

#: Nanoseconds of the longest tick of the clock with which the kernel marks writes.
TICK_NS = 10_000_000
#: ``f_type`` (linux/magic.h) of ext2/3/4, XFS, Btrfs, F2FS, tmpfs and ramfs.
_LOCAL = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x01021994, 0x858458F6})
#: Also overlayfs (the root of most containers, whose layers are on disks), ZFS, bcachefs, SquashFS
#: and EROFS.  Not all of them report what is cached, so files there are opened in threads.
_ON_DISK = _LOCAL | {0x794C7630, 0x2FC12FC1, 0xCA451A4E, 0x73717368, 0xE0F5E1E2}
#: Larger than any kernel's ``struct statfs``; ``f_type`` is its first field.
_STATFS_BYTES = 512
#: ``struct statx`` (linux/stat.h), and the position of the device number in it.
_StatxBuffer, _STATX_DEVICE = ctypes.c_char * 256, slice(136, 144)
_EMPTY_PATH, _DONT_SYNC = 0x1000, 0x4000

#: How mountinfo(5) writes spaces, line ends and backslashes.
_ESCAPE = re.compile(rb"\\([0-7]{3})")

_libc = ctypes.CDLL(None, use_errno=True)
_fstatfs = _libc.fstatfs
_fstatfs.argtypes = (ctypes.c_int, ctypes.c_char_p)
_statx = getattr(_libc, "statx", None)
if _statx is not None:
    _statx.argtypes = (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_char_p,
    )


def mount_points() -> frozenset[bytes]:
    """
    :return: the absolute paths at which file systems are mounted; empty without ``/proc``.  No file
        system is accessed, because one may hang.
    """
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            paths = [line.split()[4] for line in file]
    except OSError:
        return frozenset()
    return frozenset(_ESCAPE.sub(lambda found: bytes([int(found[1], 8)]), path) for path in paths)


def _type(fd: int) -> int | None:
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _fstatfs(fd, buffer) != 0:
        return None
    return ctypes.c_ulong.from_buffer(buffer).value


def is_local(fd: int) -> bool:
    """
    Blocks: call it in a thread.

    :param fd: open, or ``O_PATH``.
    :return: whether its file system can open and read files from the kernel's cache.
    """
    return _type(fd) in _LOCAL


def is_on_disk(fd: int) -> bool:
    """
    Blocks: call it in a thread.

    :param fd: open.
    :return: whether ``fstat`` and ``sendfile`` never wait longer than for a local disk.
    """
    return _type(fd) in _ON_DISK


def device(fd: int) -> bytes | None:
    """
    Never blocks: unlike ``fstat``, it does not access the file system.

    :param fd: open, or ``O_PATH``.
    :return: the device number of its file system, as raw bytes; ``None`` if it is unknown.
    """
    buffer = _StatxBuffer()
    if _statx is None or _statx(fd, b"", _EMPTY_PATH | _DONT_SYNC, 0, buffer) != 0:
        return None
    return buffer.raw[_STATX_DEVICE]


def reads_without_waiting(fd: int) -> bool:
    """
    :param fd: of a regular file, open for reading.
    :return: whether its file system supports ``RWF_NOWAIT``: reads that never block.
    """
    try:
        os.preadv(fd, [bytearray(1)], 0, os.RWF_NOWAIT)
    except OSError as error:
        return error.errno == errno.EAGAIN
    return True
