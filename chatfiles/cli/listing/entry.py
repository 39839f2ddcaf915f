"""
One entry of a listing: a file, a directory, or something else, as the workspace describes it.

A response is not trusted: the name of an entry may be anything.  `Entry` ensures that a name is one
segment of a path, so that it can be joined to a directory.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import unquote_to_bytes

from chatfiles.cli.errors import CliError, printable, untrusted

__all__ = ["Entry", "parse_entry", "visible"]

#: Maximum bytes of a file's name.
NAME_MAX = 255

_KINDS = ("file", "directory", "symlink")
_MODE = re.compile(r"[0-7]{4}")
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})\.([0-9]{9})Z")


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One entry.

    :param name: its name in bytes, one segment of a path.
    :param path: its virtual path in bytes.
    :param kind: ``file``, ``directory``, ``symlink`` or ``other``.
    :param size: bytes of a file; else ``None``.
    :param mtime_ns: when it was modified, in nanoseconds since the epoch; ``None`` if not known.
    :param mode: the permission bits of a file or directory; ``None`` if not known.
    :param etag: the validator of a file, with the quotation marks; else ``None``.
    :param error: why the workspace could not look at it; ``None`` if it could.
    :param received: the JSON object as the server sent it.
    """

    name: bytes
    path: bytes
    kind: str
    size: int | None = None
    mtime_ns: int | None = None
    mode: int | None = None
    etag: str | None = None
    error: str | None = None
    received: dict[str, Any] = field(default_factory=dict, compare=False)

    def below(self, directory: bytes) -> bytes:
        """
        :param directory: the virtual path of a directory.
        :return: the path of the entry below it.
        :raise CliError: it is not below it, or its path does not consist of names.
        """
        before, _, rest = self.path.partition(directory + b"/")
        if before or not all(map(_is_segment, rest.split(b"/"))):
            raise untrusted(f"{visible(self.path)} is not a path below {visible(directory)}")
        return rest


def parse_entry(value: object) -> Entry:
    """
    :param value: a JSON value of a listing.
    :return: the entry that it describes.
    :raise CliError: it describes none.
    """
    if not isinstance(value, dict):
        raise untrusted("an entry is not a JSON object")
    path = unquote_to_bytes(_text(value, "ref"))
    name = _name(value)
    if path.rpartition(b"/")[2] != name or not _is_segment(name):
        raise untrusted(f"an entry has the name {visible(name)} and the path {visible(path)}")
    kind = value.get("type")
    error = value.get("error")
    size = _number(value.get("size"))
    if kind == "file" and size is None and error is None:
        raise _malformed(name)
    return Entry(
        name=name,
        path=path,
        kind=kind if kind in _KINDS else "other",
        size=size,
        mtime_ns=_nanoseconds(value.get("mtime"), name),
        mode=_mode(value.get("mode"), name),
        etag=_text(value, "etag") or None,
        error=None if error is None else str(error),
        received=value,
    )


def visible(name: bytes) -> str:
    """:return: a name for a terminal: bytes that are not UTF-8 and control characters escaped."""
    return printable(name.decode("utf-8", "backslashreplace"), None)


def _name(value: dict[str, Any]) -> bytes:
    encoded = value.get("name_base64")
    try:
        if encoded is not None:
            return base64.b64decode(str(encoded), validate=True)
        return _text(value, "name").encode()
    except (binascii.Error, UnicodeEncodeError) as error:
        raise untrusted("the name of an entry is malformed") from error


def _is_segment(name: bytes) -> bool:
    return name not in (b"", b".", b"..") and b"\0" not in name and len(name) <= NAME_MAX


def _text(value: dict[str, Any], key: str) -> str:
    text = value.get(key, "")
    if not isinstance(text, str):
        raise untrusted(f"the member {key} of an entry is not text")
    return text


def _number(value: object) -> int | None:
    """:return: *value* if it is a size."""
    return value if isinstance(value, int) and value is not True and value >= 0 else None


def _mode(value: object, name: bytes) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _MODE.fullmatch(value):
        raise _malformed(name)
    return int(value, 8)


def _nanoseconds(value: object, name: bytes) -> int | None:
    if value is None:
        return None
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _malformed(name)
    try:
        seconds = datetime.fromisoformat(match[1] + "+00:00").timestamp()
    except ValueError as error:
        raise _malformed(name) from error
    return int(seconds) * 10**9 + int(match[2])


def _malformed(name: bytes) -> CliError:
    return untrusted(f"the entry {visible(name)} is malformed")
