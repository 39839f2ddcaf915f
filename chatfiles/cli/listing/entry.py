"""
A file, a directory or something else, as the workspace describes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chatfiles.cli.errors import printable, untrusted
from chatfiles.client.core import answers
from chatfiles.client.core.errors import BadAnswer

__all__ = ["Entry", "parse_entry", "visible"]

#: Maximum bytes of a file's name.
NAME_MAX = 255


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One entry: that of the client library, with names in bytes.

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
        :raise CliError: it is not below it, or a name in its path is too long or empty.
        """
        before, _, rest = self.path.partition(directory + b"/")
        if before or not all(0 < len(each) <= NAME_MAX for each in rest.split(b"/")):
            raise untrusted(f"{visible(self.path)} is not a path below {visible(directory)}")
        return rest


def parse_entry(value: object) -> Entry:
    """
    :param value: a JSON value of a listing.
    :return: the entry that it describes.
    :raise BadAnswer: it describes none.
    """
    found = answers.parse_entry(value)
    name, path = (text.encode("utf-8", "surrogateescape") for text in (found.name, found.path))
    if len(name) > NAME_MAX:
        raise BadAnswer("an entry has a name that is too long")
    return Entry(
        name=name,
        path=path,
        kind=found.type,
        size=found.size,
        mtime_ns=found.mtime_ns,
        mode=found.mode,
        etag=found.etag,
        error=found.error,
        received=answers.as_object(value),
    )


def visible(name: bytes) -> str:
    """:return: a name for a terminal: bytes that are not UTF-8 and control characters escaped."""
    return printable(name.decode("utf-8", "backslashreplace"), None)
