"""
What an uploaded file is called: the name that a caller gives, made harmless (CONTRACT 7).
"""

from __future__ import annotations

import re

__all__ = ["safe_name"]

#: Characters of a name.
MAX_NAME = 100
#: Characters of an extension, its dot included, that a shortened name keeps.
MAX_EXTENSION = 16

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


def safe_name(given: str) -> str:
    """
    :param given: the file name of a multipart part, whatever it is.
    :return: its last segment, of ``A-Za-z0-9._-`` only, 1 to 100 characters, never ``.`` or ``..``.
    """
    name = _UNSAFE.sub("_", given.rsplit("/", 1)[-1])
    if len(name) > MAX_NAME:
        dot = name.rfind(".")
        extension = name[dot:] if dot >= 0 and len(name) - dot <= MAX_EXTENSION else ""
        name = name[: MAX_NAME - len(extension)] + extension
    return "file" if name in ("", ".", "..") else name
