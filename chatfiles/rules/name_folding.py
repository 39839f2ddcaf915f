"""
Which names a file system may take for the same.

A file system that ignores case (ext4 with ``casefold``, APFS) opens a file also by other spellings
of its name: ``.hermeſ`` opens ``.hermes``, and so does a name with an invisible character in it.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["folded"]

#: Unicode's property Default_Ignorable_Code_Point, which ext4 skips.
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def folded(path: bytes) -> bytes:
    """
    :param path: a path or a name, any bytes.
    :return: the same for all spellings that a file system may take for *path*: canonical caseless
        matching (Unicode, 3.13, D145) without ignorable characters.  Bytes that are not UTF-8 stay.
    """
    if path.isascii():
        return path.lower()
    text = _IGNORABLE.sub("", path.decode("utf-8", "surrogateescape"))
    text = unicodedata.normalize("NFD", text).casefold()
    # Composed, so that a character of a rule is one character here in most cases.
    return unicodedata.normalize("NFC", text).encode("utf-8", "surrogateescape")
