"""
The files that every system serves.
"""

from __future__ import annotations

import os

__all__ = ["FOLDER", "LARGE", "MANY", "make_files"]

#: Bytes of the largest file; the file itself is sparse.
LARGE = 1 << 30
#: The number of different small files.
MANY = 2000
#: Bytes of the files in a folder, which cannot be compressed.
FOLDER = 1 << 28
#: Long ago, so that validators are strong: seconds since the epoch.
_MODIFIED = 1_600_000_000


def make_files(directory: str) -> None:
    """
    Write ``1k``, ``4k``, ``64k``, ``256m``, ``1g``, ``many/0000`` to ``many/1999``, and
    ``folder/0`` to ``folder/15``.
    """
    for name, size in (("1k", 1 << 10), ("4k", 4 << 10), ("64k", 64 << 10)):
        _write(os.path.join(directory, name), os.urandom(size), size)
    for name, size in (("256m", LARGE >> 2), ("1g", LARGE)):
        _write(os.path.join(directory, name), b"", size)
    os.mkdir(os.path.join(directory, "many"))
    for number in range(MANY):
        _write(os.path.join(directory, "many", f"{number:04d}"), os.urandom(1 << 10), 1 << 10)
    os.mkdir(os.path.join(directory, "folder"))
    for number in range(16):
        content = os.urandom(FOLDER >> 4)
        _write(os.path.join(directory, "folder", str(number)), content, len(content))


def _write(path: str, content: bytes, size: int) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.truncate(size)
    os.utime(path, (_MODIFIED, _MODIFIED))
