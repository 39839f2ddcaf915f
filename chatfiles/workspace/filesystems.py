"""
Which file systems answer at once, from memory, what memory holds.

On these the reactor's own thread may open and read what the kernel has cached; asking a network, or
another program (FUSE), takes as long as that pleases.
"""

from __future__ import annotations

import ctypes
import errno
import os

__all__ = ["directory_is_local", "is_local", "reads_without_waiting"]

#: ``f_type`` (linux/magic.h) of ext2/3/4, XFS, Btrfs, F2FS, tmpfs and ramfs.
_LOCAL = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x01021994, 0x858458F6})
#: Bytes that no kernel's ``struct statfs`` exceeds; ``f_type`` is its first field.
_STATFS_BYTES = 512

_fstatfs = ctypes.CDLL(None, use_errno=True).fstatfs
_fstatfs.argtypes = (ctypes.c_int, ctypes.c_char_p)


def is_local(fd: int) -> bool:
    """
    Blocks: for a thread.

    :param fd: open, or ``O_PATH``.
    :return: whether it lies on one of these file systems.
    """
    answer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _fstatfs(fd, answer) != 0:
        return False
    return ctypes.c_ulong.from_buffer(answer).value in _LOCAL


def directory_is_local(path: bytes) -> bool:
    """:return: whether there is a directory, on one of these file systems.  Blocks."""
    try:
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return is_local(fd)
    finally:
        os.close(fd)


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
