"""
Parses query strings as bytes, and decodes them exactly once (reference/http, "Queries").

Both roles must read a query the same way, and so must every proxy between them.  So the rule is
simple and has no charset: parameters are separated by ``&`` only, ``+`` is a space, ``%XX`` is a
byte, and every other byte stands for itself.
"""

from __future__ import annotations

import re
from urllib.parse import quote

__all__ = ["decode_query_value", "encode_query_value", "parse_query"]

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


def parse_query(raw: bytes) -> dict[bytes, list[bytes]]:
    """
    Parse a query string.

    ``;`` is not a separator.  A name without ``=`` has the value ``b""``.  A malformed escape such
    as ``%zz`` stands for itself.  The cost is proportional to the length of *raw*, which the limit
    on a request's headers bounds.

    :param raw: the bytes after the ``?`` of the request target.
    :return: each name with all its values, both decoded, in the order of the query.
    """
    fields: dict[bytes, list[bytes]] = {}
    for field in raw.split(b"&"):
        if field:
            name, _, value = field.partition(b"=")
            fields.setdefault(decode_query_value(name), []).append(decode_query_value(value))
    return fields


def encode_query_value(value: bytes) -> str:
    """
    Encode a value so that `parse_query`, and every other parser, decodes the same bytes.

    Every byte is escaped except the unreserved characters (RFC 3986, 2.3) and ``/``.  So a proxy
    has no reason to decode, re-encode or split the value.

    :param value: any bytes.
    :return: ASCII text, to follow ``name=``.
    """
    return quote(value, safe="/")


def decode_query_value(text: bytes) -> bytes:
    """
    :param text: a name or value of a query.
    :return: the bytes for which it stands.
    """
    return _ESCAPE.sub(_unescape, text.replace(b"+", b" "))


def _unescape(escape: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escape[1].decode("ascii"))
