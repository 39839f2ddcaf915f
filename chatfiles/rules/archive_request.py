"""
What a request for an archive asks for (reference/archives, "Request").  Each role checks it
itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chatfiles.rules.json_path import invalid_field, named_path
from chatfiles.rules.parameters import invalid, single
from chatfiles.rules.query import parse_query
from chatfiles.rules.virtual_paths import VirtualPath, check_form

__all__ = [
    "MAX_PATHS",
    "ArchiveFormat",
    "ArchiveRequest",
    "archive_body",
    "archive_format",
    "archive_query",
]

MAX_PATHS = 1000
#: The most characters of a file name that a client offers.
MAX_NAME = 256
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class ArchiveFormat(StrEnum):
    """The formats, by the extension of their files."""

    ZIP = "zip"
    TAR = "tar"
    TAR_GZ = "tar.gz"

    @property
    def media_type(self) -> bytes:
        """The media type of an archive."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    ArchiveFormat.ZIP: b"application/zip",
    ArchiveFormat.TAR: b"application/x-tar",
    ArchiveFormat.TAR_GZ: b"application/gzip",
}


@dataclass(frozen=True, slots=True)
class ArchiveRequest:
    """
    A request for an archive.

    :param paths: what it is to hold, as the client gave it: perhaps several times, perhaps below
        each other.
    :param name: the file name without extension that the client wants, in safe characters of
        ASCII; ``None`` for the usual one.
    """

    paths: tuple[VirtualPath, ...]
    format: ArchiveFormat
    name: str | None = None

    def file_name(self, usual: bytes) -> bytes:
        """
        :param usual: the name without extension, if the client wants no other.
        :return: the file name of the archive.
        """
        name = usual if self.name is None else self.name.encode("ascii")
        return b"%b.%b" % (name, self.format.encode("ascii"))


def archive_query(raw: bytes) -> ArchiveRequest:
    """
    :param raw: the query of a request without a body.
    :return: what is asked for.
    :raise BadRequest: the first parameter that is malformed.
    """
    query = parse_query(raw)
    path = check_form(query.get(b"path", []))
    given = single(query, "format")
    form = archive_format("zip" if given is None else given.decode("latin-1"))
    return ArchiveRequest((path,), form)


def archive_body(body: Mapping[str, Any]) -> ArchiveRequest:
    """
    :param body: the JSON body of a request.
    :return: what is asked for.
    :raise BadRequest: the first member that is malformed.  If a path is, ``detail`` names it.
    """
    given = body.get("paths")
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_PATHS:
        raise invalid_field(f"paths must be a list of 1 to {MAX_PATHS} paths")
    paths = tuple(map(named_path, given))
    wanted, name = body.get("format"), body.get("name")
    form = archive_format("zip" if wanted is None else wanted)
    if name is not None and (not isinstance(name, str) or len(name) > MAX_NAME):
        raise invalid_field(f"name must be a text of at most {MAX_NAME} characters")
    return ArchiveRequest(paths, form, _UNSAFE.sub("_", name) if name else None)


def archive_format(given: object) -> ArchiveFormat:
    """
    :return: the format of that name.
    :raise BadRequest: there is none.
    """
    try:
        return ArchiveFormat(given)  # type: ignore[arg-type]
    except ValueError:
        raise invalid("format") from None
