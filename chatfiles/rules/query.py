"""
Query strings: bytes in, bytes out, decoded exactly once (reference/http, "Queries").

The two roles must read a query alike, whatever else reads it between them.  So there is one rule
and no charset: a field ends at ``&`` and nowhere else, ``+`` is a space, ``%XX`` is a byte, and
anything that is not an escape stands for itself.
"""

from __future__ import annotations

import re
from urllib.parse import quote

__all__ = ["encode_query_value", "parse_query"]

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


def parse_query(raw: bytes) -> dict[bytes, list[bytes]]:
    """
    Take a query string apart.

    ``;`` separates nothing, a name without ``=`` has the value ``b""``, and a bad escape such as
    ``%zz`` is kept as it stands.  The work is proportional to *raw*, which the limit on a request's
    head bounds.

    :param raw: what follows the ``?`` of the request target.
    :return: each name with all its values, both decoded, in the order in which they were given.
    """
    fields: dict[bytes, list[bytes]] = {}
    for field in raw.split(b"&"):
        if field:
            name, _, value = field.partition(b"=")
            fields.setdefault(_decode(name), []).append(_decode(value))
    return fields


def encode_query_value(value: bytes) -> str:
    """
    Write a value so that `parse_query`, and any other reader, gets the same bytes back.

    Everything but the unreserved characters (RFC 3986, 2.3) and ``/`` is escaped, so no parser of
    URLs on the way has anything to decode, re-encode or split.

    :return: ASCII text for the right-hand side of ``name=``.
    """
    return quote(value, safe="/")


def _decode(text: bytes) -> bytes:
    return _ESCAPE.sub(_unescape, text.replace(b"+", b" "))


def _unescape(escape: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escape[1].decode("ascii"))
