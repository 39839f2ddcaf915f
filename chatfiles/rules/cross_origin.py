"""
The headers that let the pages of other origins upload (CORS; reference/resumable, "Other origins").
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

__all__ = ["cross_origin_fields", "origin"]

_ORIGIN = re.compile(r"https?://[^\s/?#@,]+")
_EXPOSED: Final = (
    b"Location, Tus-Resumable, Upload-Offset, Upload-Length, Upload-Defer-Length, "
    b"Upload-Metadata, Upload-Checksum, Upload-Expires, Chatfiles-Uri, Repr-Digest, Retry-After"
)
_METHODS: Final = b"OPTIONS, POST, HEAD, PATCH, DELETE, GET"
_HEADERS: Final = (
    b"Authorization, Content-Type, X-Request-Id, X-HTTP-Method-Override, Tus-Resumable, "
    b"Upload-Length, Upload-Defer-Length, Upload-Metadata, Upload-Offset, Upload-Checksum"
)


def origin(value: str) -> bytes:
    """
    :param value: of ``--allow-origin``.
    :return: the origin.
    :raise ValueError: it is none; the text says what is.
    """
    if not _ORIGIN.fullmatch(value) or value != value.lower() or not value.isascii():
        raise ValueError("an origin in lower case, such as https://app.example.com")
    return value.encode("ascii")


def cross_origin_fields(
    values: Sequence[bytes], allowed: Collection[bytes], *, is_options: bool
) -> list[tuple[bytes, bytes]]:
    """
    :param values: of the header ``Origin``, one for each of its lines.
    :param allowed: the origins whose pages may read responses.
    :param is_options: whether the request asks for permission (``OPTIONS``).
    :return: headers of the response; none for another origin.
    """
    if len(values) != 1 or values[0] not in allowed:
        return []
    fields = [
        (b"Access-Control-Allow-Origin", values[0]),
        (b"Vary", b"Origin"),
        (b"Access-Control-Expose-Headers", _EXPOSED),
    ]
    if is_options:
        fields += [
            (b"Access-Control-Allow-Methods", _METHODS),
            (b"Access-Control-Allow-Headers", _HEADERS),
        ]
    return fields
