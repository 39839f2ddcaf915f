"""
Makes a safe file name from the name that a client gave.
"""

from __future__ import annotations

import re

__all__ = ["safe_name"]

#: Longest name, in characters.
MAX_NAME = 100
#: Longest extension that a shortened name keeps, its dot included.
MAX_EXTENSION = 16

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


def safe_name(given: str) -> str:
    """
    :param given: the file name of a multipart part; any text.
    :return: its last segment with only ``A-Za-z0-9._-``, 1 to 100 characters, never ``.`` or
        ``..``.
    """
    name = _UNSAFE.sub("_", given.rsplit("/", 1)[-1])
    if len(name) > MAX_NAME:
        dot = name.rfind(".")
        extension = name[dot:] if dot >= 0 and len(name) - dot <= MAX_EXTENSION else ""
        name = name[: MAX_NAME - len(extension)] + extension
    return "file" if name in ("", ".", "..") else name
