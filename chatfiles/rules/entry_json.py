"""
How files and directories are described in JSON (reference/listing, "Entries").

A name is bytes, and JSON is text.  So each description has the name three times at most: as text
to show, as a ``ref`` to use in a query, and in base64 where the text is not the whole name.
"""

from __future__ import annotations

import base64
import re
import stat
import time
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from chatfiles.model import FileFacts
from chatfiles.rules.conditional_requests import etag
from chatfiles.rules.media_types import media_type
from chatfiles.rules.query import encode_query_value
from chatfiles.rules.virtual_paths import MAX_SEGMENT_BYTES

if TYPE_CHECKING:
    import os

__all__ = [
    "Kind",
    "decode_cursor",
    "describe",
    "encode_cursor",
    "format_time",
    "kind_of",
    "name_members",
    "ref_below",
    "ref_of",
    "shown",
]

Members = dict[str, object]

_SECOND: Final = 1_000_000_000
#: The seconds that RFC 3339 can express: years have four digits.
_FIRST, _LAST = -62_135_596_800, 253_402_300_799
_PERMISSIONS: Final = 0o7777
_CURSOR = re.compile(rb"[A-Za-z0-9_-]+")


class Kind(StrEnum):
    """What lies at a name: the ``type`` of an entry."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    OTHER = "other"


_KINDS: Final[dict[int, Kind]] = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
}


def kind_of(mode: int) -> Kind:
    """:return: the kind of what has this ``st_mode``."""
    return _KINDS.get(stat.S_IFMT(mode), Kind.OTHER)


def shown(name: bytes) -> str:
    """:return: a name or path as text, in which bytes that are not UTF-8 are U+FFFD."""
    return name.decode("utf-8", "replace")


def ref_of(path: bytes) -> str:
    """:return: a virtual path, percent-encoded: it can follow ``path=`` as it is."""
    return encode_query_value(path)


def ref_below(parent: str, name: bytes) -> str:
    """
    :param parent: the ref of a directory.
    :param name: of something in it.
    :return: its ref.
    """
    return f"{parent}/{encode_query_value(name)}"


def name_members(name: bytes, ref: str) -> Members:
    """
    :param name: the last segment of a path.
    :param ref: of the path.
    :return: ``name`` and ``ref``; and ``name_base64`` if ``name`` is not the whole name.
    """
    try:
        return {"name": name.decode("utf-8"), "ref": ref}
    except UnicodeDecodeError:
        whole = base64.b64encode(name).decode("ascii")
        return {"name": shown(name), "ref": ref, "name_base64": whole}


def format_time(ns: int) -> str:
    """
    :param ns: nanoseconds since the epoch.
    :return: the time in UTC with nine digits (RFC 3339).  A time before the year 1 or after 9999
        becomes the first or last that can be expressed.
    """
    ns = max(_FIRST * _SECOND, min(ns, _LAST * _SECOND + _SECOND - 1))
    seconds, fraction = divmod(ns, _SECOND)
    return f"{_to_the_second(seconds)}.{fraction:09}Z"


@lru_cache(1024)  # many files of a directory were written in the same second
def _to_the_second(seconds: int) -> str:
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"


def describe(name: bytes, facts: os.stat_result, now_ns: int) -> Members:
    """
    Describe what lies at a name, without its name.

    :param name: the last segment of its path; it determines the media type.
    :param facts: the result of ``fstat`` or ``lstat``.
    :param now_ns: nanoseconds since the epoch, not later than *facts* were read.
    :return: ``type``, and those of ``size``, ``mtime``, ``mode``, ``media_type`` and ``etag`` that
        its type has.
    """
    kind = kind_of(facts.st_mode)
    members: Members = {"type": kind.value}
    if kind is Kind.OTHER:
        return members
    if kind is Kind.FILE:
        members["size"] = facts.st_size
    members["mtime"] = format_time(facts.st_mtime_ns)
    if kind is not Kind.SYMLINK:
        members["mode"] = f"{facts.st_mode & _PERMISSIONS:04o}"
    if kind is Kind.FILE:
        members["media_type"] = media_type(name)
        members["etag"] = etag(FileFacts.of(facts), now_ns).decode("ascii")
    return members


def encode_cursor(name: bytes) -> str:
    """:return: the cursor for the names behind *name*: base64url without padding."""
    return base64.urlsafe_b64encode(name).rstrip(b"=").decode("ascii")


def decode_cursor(cursor: bytes) -> bytes | None:
    """
    :param cursor: a result of `encode_cursor`, perhaps with the padding of base64url.
    :return: the name; ``None`` unless it is 1 to 255 bytes without a slash or NUL.
    """
    bare = cursor.rstrip(b"=")
    padded = bare + b"=" * (-len(bare) % 4)
    if cursor not in (bare, padded) or not _CURSOR.fullmatch(bare) or len(bare) % 4 == 1:
        return None
    name = base64.urlsafe_b64decode(padded)
    is_name = 1 <= len(name) <= MAX_SEGMENT_BYTES and not {b"/"[0], 0} & set(name)
    return name if is_name else None
