"""
Which headers the platform forwards, and the headers that describe a file (reference/downloads,
"Headers").

Every value is printable ASCII, so no file name can break a header.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

from chatfiles.errors import BadRequest
from chatfiles.model import FileFacts
from chatfiles.rules.conditional_requests import etag, last_modified
from chatfiles.rules.digest_fields import REPR_DIGEST, WANT_REPR_DIGEST
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

#: Headers of a download's request that the platform forwards (reference/downloads, "Forwarded
#: headers").
FORWARDED_REQUEST_HEADERS: tuple[bytes, ...] = (
    b"Range",
    b"If-Match",
    b"If-None-Match",
    b"If-Modified-Since",
    b"If-Unmodified-Since",
    b"If-Range",
    WANT_REPR_DIGEST,
)

#: Headers of a workspace's response that the platform relays (reference/downloads, "Forwarded
#: headers").
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
    REPR_DIGEST,
)

#: For an attachment.  If a browser shows the file anyway, nothing in it runs.
CSP_ATTACHMENT = b"default-src 'none'; sandbox"

#: For a file that a browser may show.  Scripts, forms, popups and navigation stay forbidden.  The
#: page that a browser puts around the file has inline style, and loads a picture or media again
#: from the same URL.  With a bare sandbox the origin is opaque: Chromium refuses to load audio and
#: video then, and WebKit neither matches 'self' nor shows a PDF.  So allow-same-origin is needed.
#: Without allow-scripts it gives the file no further rights.
CSP_INLINE = (
    b"default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; "
    b"sandbox allow-same-origin"
)

_CACHE_CONTROL = (b"Cache-Control", b"private, no-cache")
_NAMELESS = "download"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

#: Code point of a name → its form in ``filename=``; ``None`` removes it.
_QUOTED: dict[int, str | None] = {
    **dict.fromkeys((*range(0x20), 0x7F)),
    ord('"'): r"\"",
    ord("\\"): r"\\",
}
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_NOT_UTF_8 = re.compile("[\udc80-\udcff]")


def is_request_id(value: bytes) -> bool:
    """
    :param value: the ``X-Request-Id`` of a request.
    :return: whether the server may use it as the request's id (reference/routes, "Request ids").
    """
    return _REQUEST_ID.fullmatch(value) is not None


def wants_inline(values: Sequence[bytes]) -> bool:
    """
    :param values: every value of the query parameter ``disposition``, decoded.
    :return: whether the client wants to view the file.
    :raise chatfiles.errors.BadRequest: 400, there are values other than a single ``inline``
        (reference/downloads, "Viewing").
    """
    if values and list(values) != [b"inline"]:
        raise BadRequest("invalid disposition", code="invalid_disposition")
    return bool(values)


def content_disposition(name: bytes, *, inline: bool = False) -> bytes:
    """
    Make a ``Content-Disposition`` (RFC 6266) with the file's name in two forms: one for old clients
    and one for all others.

    ``filename=`` has the form of reference/downloads, "Headers".  ``filename*=`` (RFC 8187) is the
    whole name, including control characters and direction marks.  As in existing workspaces,
    every character is escaped that is not unreserved in a URI.  A byte that is not UTF-8 becomes
    U+FFFD there, because the value is declared as UTF-8.

    :param name: the last segment of a path.
    :param inline: whether the file is to be shown rather than saved.
    :return: a header value of printable ASCII.
    """
    text = name.decode("utf-8", "surrogateescape") or _NAMELESS
    plain = _NOT_ASCII.sub("_", text).translate(_QUOTED) or _NAMELESS
    extended = quote(_NOT_UTF_8.sub("\ufffd", text), safe="")
    disposition = "inline" if inline else "attachment"
    return f"{disposition}; filename=\"{plain}\"; filename*=UTF-8''{extended}".encode("ascii")


def validator_headers(facts: FileFacts, now_ns: int) -> list[tuple[bytes, bytes]]:
    """
    :param facts: of the file.
    :param now_ns: nanoseconds since the epoch; the same as for the decision.
    :return: names and values of the headers that a 304 has (RFC 9110, 15.4.5), and that every
        other response with the file has, too.
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
    Make the headers of a 200 or 206.

    :param facts: of the file.
    :param name: the last segment of the path; it determines the media type.
    :param inline: whether the client wants to view the file.  A type that must not be viewed
        remains an attachment.
    :param now_ns: nanoseconds since the epoch; the same as for the decision.
    :return: names and values of all headers of reference/downloads, "Headers" except
        ``Content-Length``.
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
