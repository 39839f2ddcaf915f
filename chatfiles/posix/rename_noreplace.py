"""
A rename that never replaces an existing file, which ``os.rename`` cannot do.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

__all__ = ["HERE", "NO_HARD_LINKS", "rename_new"]

#: AT_FDCWD: the current directory, where a descriptor of a directory is expected.
HERE: Final = -100

#: Errors of `os.link` on a file system on which a file has one name only (FAT, many FUSE ones), or
#: on which an unnamed file is on another file system than its directory (some layered ones).
NO_HARD_LINKS: Final = frozenset(
    {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EINVAL}
)

#: Errors of a kernel or file system (some FUSE ones) that does not support the flag.
_NO_FLAGS = frozenset({errno.EINVAL, errno.ENOSYS})
_RENAME_NOREPLACE = 1

_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def rename_new(
    old: bytes, new: bytes, directory_fd: int = HERE, new_directory_fd: int | None = None
) -> bool:
    """
    Rename atomically, without replacing anything.

    :param old: the present name.
    :param new: the new name.
    :param directory_fd: the directory for relative names.
    :param new_directory_fd: the directory of *new*, if it is another one.
    :return: whether it was renamed; ``False`` if the kernel or the file system does not support it.
    :raise OSError: it failed; ``FileExistsError`` if *new* exists.
    """
    if _renameat2 is None:
        return False
    there = directory_fd if new_directory_fd is None else new_directory_fd
    if not _renameat2(directory_fd, old, there, new, _RENAME_NOREPLACE):
        return True
    code = ctypes.get_errno()
    if code in _NO_FLAGS:
        return False
    raise OSError(code, os.strerror(code))
