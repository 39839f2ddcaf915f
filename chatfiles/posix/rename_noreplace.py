"""
A rename that never replaces an existing file, which ``os.rename`` cannot do.
"""

from __future__ import annotations

import ctypes
import errno
import os

__all__ = ["rename_new"]

#: Errors of a kernel or file system (some FUSE ones) that does not support the flag.
_NO_FLAGS = frozenset({errno.EINVAL, errno.ENOSYS})
_RENAME_NOREPLACE = 1
_HERE = -100  # AT_FDCWD

_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def rename_new(old: bytes, new: bytes, directory_fd: int = _HERE) -> bool:
    """
    Rename atomically, without replacing anything.

    :param old: the present name.
    :param new: the new name.
    :param directory_fd: the directory for relative names.
    :return: whether it was renamed; ``False`` if the kernel or the file system does not support it.
    :raise OSError: it failed; ``FileExistsError`` if *new* exists.
    """
    if _renameat2 is None:
        return False
    if not _renameat2(directory_fd, old, directory_fd, new, _RENAME_NOREPLACE):
        return True
    code = ctypes.get_errno()
    if code in _NO_FLAGS:
        return False
    raise OSError(code, os.strerror(code))
