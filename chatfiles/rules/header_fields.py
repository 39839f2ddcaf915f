"""
The header lines of an HTTP message (RFC 9112, 5): bytes in, names and values out, strictly.

Both hops read heads with this: the server its callers', the platform its workspaces'.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

__all__ = ["FIELD_LINE", "TOKEN", "Fields", "HeaderFields", "read_fields"]

#: Names in lower case and values without the white space around them, in order.
Fields = list[tuple[bytes, bytes]]


class HeaderFields(Protocol):
    """Fields to look up by name, as `twisted.web.http_headers.Headers` has them."""

    def getRawHeaders(self, name: bytes, default: Sequence[bytes], /) -> Sequence[bytes]:
        """:return: the values of *name*, one for each of its lines; *default* if there is none."""
        ...


#: RFC 9110, 5.6.2.
TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
#: One line without its end: no folding, no space before the colon, no control character but HTAB.
FIELD_LINE = re.compile(TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+")

_FIELD_LINES = re.compile(rb"(?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*+")


def read_fields(block: bytes) -> Fields | None:
    """
    :param block: header lines, each with its CRLF.
    :return: what they say; ``None`` if one of them is malformed.
    """
    if not _FIELD_LINES.fullmatch(block):
        return None
    return [
        (name.lower(), value.strip(b" \t"))
        for name, _, value in [line.partition(b":") for line in block.split(b"\r\n")[:-1]]
    ]
