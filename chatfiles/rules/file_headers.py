"""
Header fields: which ones cross a hop, and those that describe a file (reference/downloads,
"Headers").

Nothing that a file is called can break a header: every value is printable ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

from chatfiles.errors import BadRequest
from chatfiles.model import FileFacts
from chatfiles.rules.conditional_requests import etag, last_modified
from chatfiles.rules.media_types import may_view_inline, media_type

__all__ = [
    "CSP_ATTACHMENT",
    "CSP_INLINE",
    "FORWARDED_REQUEST_HEADERS",
    "RELAYED_RESPONSE_HEADERS",
    "content_disposition",
    "is_request_id",
    "representation_headers",
    "validator_headers",
    "wants_inline",
]

#: What the platform passes on of a download's request (reference/downloads, "Forwarded headers").
FORWARDED_REQUEST_HEADERS: tuple[bytes, ...] = (
    b"Range",
    b"If-Match",
    b"If-None-Match",
    b"If-Modified-Since",
    b"If-Unmodified-Since",
    b"If-Range",
)

#: What the platform passes on of a workspace's answer (reference/downloads, "Forwarded headers").
RELAYED_RESPONSE_HEADERS: tuple[bytes, ...] = (
    b"Content-Type",
    b"Content-Disposition",
    b"Content-Length",
    b"Content-Range",
    b"Accept-Ranges",
    b"ETag",
    b"Last-Modified",
    b"Cache-Control",
    b"X-Content-Type-Options",
    b"Content-Security-Policy",
)

#: For a file that is to be saved: should a browser show it all the same, nothing in it runs.
CSP_ATTACHMENT = b"default-src 'none'; sandbox"

#: For a file that may be shown.  Scripts, forms, popups and navigation stay forbidden.  The page
#: that a browser puts around the file has inline style, and loads a picture or media once more from
#: the same URL.  From the opaque origin of a bare sandbox Chromium refuses that to audio and video,
#: and WebKit neither matches 'self' nor shows a PDF: hence allow-same-origin, of which nobody can
#: make use without allow-scripts.
CSP_INLINE = (
    b"default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; "
    b"sandbox allow-same-origin"
)

_CACHE_CONTROL = (b"Cache-Control", b"private, no-cache")
_NAMELESS = "download"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

#: Code points of a name → what stands for them in ``filename=``.
_QUOTED: dict[int, str | None] = {
    **dict.fromkeys((*range(0x20), 0x7F)),
    ord('"'): r"\"",
    ord("\\"): r"\\",
}
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_NOT_UTF_8 = re.compile("[\udc80-\udcff]")


def is_request_id(value: bytes) -> bool:
    """
    :return: whether a caller's ``X-Request-Id`` may be kept (reference/routes, "Request ids").
    """
    return _REQUEST_ID.fullmatch(value) is not None


def wants_inline(values: Sequence[bytes]) -> bool:
    """
    :param values: every value of the query parameter ``disposition``, decoded.
    :return: whether the caller asked for viewing.
    :raise chatfiles.errors.BadRequest: 400, anything but a single ``inline`` (reference/downloads,
        "Viewing").
    """
    if values and list(values) != [b"inline"]:
        raise BadRequest("invalid disposition", code="invalid_disposition")
    return bool(values)


def content_disposition(name: bytes, *, inline: bool = False) -> bytes:
    """
    Offer a file under its name (RFC 6266), in a form for old clients and one for all others.

    ``filename=`` is what reference/downloads, "Headers" says.  ``filename*=`` (RFC 8187) is the
    whole name, also its control characters and marks of direction, but with everything escaped that
    is not unreserved in a URI, as the workspaces in the field do; a byte that is not UTF-8 becomes
    U+FFFD there, for a client must not be told that it is.

    :param name: the last segment of a path.
    :param inline: whether it is to be shown rather than saved.
    :return: a header value of printable ASCII.
    """
    text = name.decode("utf-8", "surrogateescape") or _NAMELESS
    plain = _NOT_ASCII.sub("_", text).translate(_QUOTED) or _NAMELESS
    extended = quote(_NOT_UTF_8.sub("\ufffd", text), safe="")
    disposition = "inline" if inline else "attachment"
    return f"{disposition}; filename=\"{plain}\"; filename*=UTF-8''{extended}".encode("ascii")


def validator_headers(facts: FileFacts, now_ns: int) -> list[tuple[bytes, bytes]]:
    """
    :param now_ns: nanoseconds since the epoch; the same as for the decision.
    :return: what a 304 says of the file (RFC 9110, 15.4.5), and every answer with it.
    """
    return [
        (b"ETag", etag(facts, now_ns)),
        (b"Last-Modified", last_modified(facts, now_ns)),
        _CACHE_CONTROL,
    ]


def representation_headers(
    facts: FileFacts, name: bytes, *, inline: bool, now_ns: int
) -> list[tuple[bytes, bytes]]:
    """
    All headers of reference/downloads, "Headers" except ``Content-Length``, for a 200 or 206.

    :param name: the last segment of the path; it decides on the type.
    :param inline: whether the caller asked for viewing; a type that must not be viewed stays an
        attachment.
    :param now_ns: nanoseconds since the epoch; the same as for the decision.
    """
    content_type = media_type(name)
    inline = inline and may_view_inline(content_type)
    return [
        (b"Content-Type", content_type.encode("ascii")),
        (b"Content-Disposition", content_disposition(name, inline=inline)),
        (b"Accept-Ranges", b"bytes"),
        *validator_headers(facts, now_ns),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Content-Security-Policy", CSP_INLINE if inline else CSP_ATTACHMENT),
    ]
