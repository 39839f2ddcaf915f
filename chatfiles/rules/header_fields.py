"""
Parses the header lines of an HTTP message strictly (RFC 9112, 5).

The server parses the headers of its clients with this module, and the platform those of its
workspaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

__all__ = [
    "FIELD_LINE",
    "TOKEN",
    "Fields",
    "HeaderFields",
    "HeaderValues",
    "fields_of",
    "header_lines",
    "is_coded",
    "read_fields",
]

#: Names, in lower case if they were parsed, and values without surrounding white space.
Fields = list[tuple[bytes, bytes]]


class HeaderFields(Protocol):
    """Headers that can be looked up by name, as in `twisted.web.http_headers.Headers`."""

    def getRawHeaders(self, name: bytes, default: Sequence[bytes], /) -> Sequence[bytes]:
        """:return: the values of *name*, one for each of its lines; *default* if it has none."""
        ...


class HeaderValues(dict[bytes, list[bytes]]):
    """Headers by name, in lower case.  It costs less than Twisted's ``Headers``."""

    def getRawHeaders(self, name: bytes, default: Sequence[bytes] = ()) -> Sequence[bytes]:
        """:return: see `HeaderFields`; *name* may have any case."""
        return self.get(name.lower(), default)


#: RFC 9110, 5.6.2.
TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
#: One line without its CRLF: no folding, no space before the colon, no control character but HTAB.
FIELD_LINE = re.compile(TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+")

_FIELD_LINES = re.compile(rb"(?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*+")


def read_fields(block: bytes) -> Fields | None:
    """
    :param block: header lines, each with its CRLF.
    :return: their names and values; ``None`` if one of them is malformed.
    """
    if not _FIELD_LINES.fullmatch(block):
        return None
    return [
        (name.lower(), value.strip(b" \t"))
        for name, _, value in [line.partition(b":") for line in block.split(b"\r\n")[:-1]]
    ]


def is_coded(fields: HeaderFields) -> bool:
    """:return: whether the body has a content coding (RFC 9110, 8.4), such as ``gzip``."""
    codings = fields.getRawHeaders(b"content-encoding", ())
    return any(coding.strip().lower() not in (b"", b"identity") for coding in codings)


def fields_of(fields: HeaderFields, names: Iterable[bytes]) -> Fields:
    """
    :param names: of the headers that are wanted, as they are forwarded.
    :return: these names and their values, one for each line.
    """
    return [(name, value) for name in names for value in fields.getRawHeaders(name, ())]


def header_lines(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """
    :param fields: names and values of headers, without line ends.
    :return: their lines, each with its CRLF.
    """
    return b"".join([b"%b: %b\r\n" % field for field in fields])
