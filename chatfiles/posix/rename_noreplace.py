"""
A rename that never replaces anything, which ``os.rename`` cannot.
"""

from __future__ import annotations

import ctypes
import errno
import os

__all__ = ["rename_new"]

#: How a file system, or a kernel, says that it cannot (some of what FUSE brings).
_NO_FLAGS = frozenset({errno.EINVAL, errno.ENOSYS})
_RENAME_NOREPLACE = 1
_HERE = -100  # AT_FDCWD

_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def rename_new(old: bytes, new: bytes, directory_fd: int = _HERE) -> bool:
    """
    Rename in one step, or not at all.

    :param directory_fd: of the directory that both names are in, unless they say where they are.
    :return: whether it was done; ``False`` where this cannot be had.
    :raise OSError: it failed; ``FileExistsError`` when there is something of the name *new*.
    """
    if _renameat2 is None:
        return False
    if not _renameat2(directory_fd, old, directory_fd, new, _RENAME_NOREPLACE):
        return True
    code = ctypes.get_errno()
    if code in _NO_FLAGS:
        return False
    raise OSError(code, os.strerror(code))
