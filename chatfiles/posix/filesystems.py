"""
Which file systems answer from memory, and which ask somebody.

On a disk of this machine the reactor's own thread may look at what is open, and read what the
kernel has cached; asking a network, or another program (FUSE), takes as long as that pleases.
"""

from __future__ import annotations

import ctypes
import errno
import os

__all__ = ["device", "is_local", "is_on_disk", "reads_without_waiting"]

#: ``f_type`` (linux/magic.h) of ext2/3/4, XFS, Btrfs, F2FS, tmpfs and ramfs.
_LOCAL = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x01021994, 0x858458F6})
#: Of overlayfs, the root of most containers, whose layers are on disks; ZFS, bcachefs, SquashFS and
#: EROFS.  What they know of their caches differs, so that nothing is opened at once there.
_ON_DISK = _LOCAL | {0x794C7630, 0x2FC12FC1, 0xCA451A4E, 0x73717368, 0xE0F5E1E2}
#: Bytes that no kernel's ``struct statfs`` exceeds; ``f_type`` is its first field.
_STATFS_BYTES = 512
#: ``struct statx`` (linux/stat.h), and where the device stands in it.
_StatxAnswer, _STATX_DEVICE = ctypes.c_char * 256, slice(136, 144)
_EMPTY_PATH, _DONT_SYNC = 0x1000, 0x4000

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


def _type(fd: int) -> int | None:
    answer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _fstatfs(fd, answer) != 0:
        return None
    return ctypes.c_ulong.from_buffer(answer).value


def is_local(fd: int) -> bool:
    """
    Blocks: for a thread.

    :param fd: open, or ``O_PATH``.
    :return: whether it lies where files may be opened, and read, from memory.
    """
    return _type(fd) in _LOCAL


def is_on_disk(fd: int) -> bool:
    """
    Blocks: for a thread.

    :param fd: open.
    :return: whether it lies where ``fstat`` and ``sendfile`` wait for a disk of this machine at
        most.
    """
    return _type(fd) in _ON_DISK


def device(fd: int) -> bytes | None:
    """
    Never blocks: unlike ``fstat``, this does not ask the file system.

    :param fd: open, or ``O_PATH``.
    :return: what names the file system that it lies on; ``None`` if that cannot be told.
    """
    answer = _StatxAnswer()
    if _statx is None or _statx(fd, b"", _EMPTY_PATH | _DONT_SYNC, 0, answer) != 0:
        return None
    return answer.raw[_STATX_DEVICE]


def reads_without_waiting(fd: int) -> bool:
    """
    :param fd: of a regular file, open for reading.
    :return: whether its file system can read what is in memory and refuse the rest.
    """
    try:
        os.preadv(fd, [bytearray(1)], 0, os.RWF_NOWAIT)
    except OSError as error:
        return error.errno == errno.EAGAIN
    return True
