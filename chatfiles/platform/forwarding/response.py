"""
A workspace's answer becomes the platform's (CONTRACT 6).
"""

from __future__ import annotations

import re

from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse

from chatfiles.errors import VersionNotSupported
from chatfiles.http.server.endpoint import reason_phrase
from chatfiles.http.server.request import Request
from chatfiles.http.server.transfer import Outcome
from chatfiles.platform.forwarding.gateway import part_of
from chatfiles.rules import file_headers
from chatfiles.rules.media_types import may_view_inline
from chatfiles.streams.body_relay import BodyRelay

__all__ = ["copy_headers", "relay_body", "require_provable", "sanitize_headers"]

_RELAYED = frozenset(file_headers.RELAYED_RESPONSE_HEADERS)
#: Fields that mean something with some statuses only.
_ONLY_WITH = {b"Content-Range": (206, 416), b"Content-Disposition": (200, 206)}
#: All that a 304 may say: caches take it for the answer that they have (RFC 9110, 15.4.5).
_OF_304 = frozenset({b"ETag", b"Last-Modified", b"Cache-Control"})
# A media type that is read alike by everybody: behind a comma browsers begin another one
# (https://fetch.spec.whatwg.org/#concept-header-extract-mime-type).
_MEDIA_TYPE = re.compile(
    rb"([a-z0-9.+-]+/[a-z0-9.+-]+)(?:[ \t]*;[ \t]*[a-z0-9-]+=(?:[\w.:-]+|\"[\w.:-]+\"))*",
    re.ASCII | re.IGNORECASE,
)
# What RFC 6266, 4.1, has; Chromium shows an error in place of a file with two of them, or one that
# looks like two.
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb"\"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*\""
_DISPOSITION = re.compile(
    rb"(attachment|inline)(?:[ \t]*;[ \t]*%b[ \t]*=[ \t]*(?:%b|%b))+" % (_TOKEN, _TOKEN, _QUOTED),
    re.IGNORECASE,
)


def require_provable(request: Request, response: IResponse) -> None:
    """
    See that the caller will be able to tell a whole file from a cut one.  HTTP/1.0 knows no chunks,
    and a body that only ends by closing proves nothing (CONTRACT 6.3).

    :raise VersionNotSupported: 505, the workspace chunks its answer and the caller cannot.
    """
    is_file = response.code in (200, 206) and request.method != b"HEAD"
    if is_file and response.length is UNKNOWN_LENGTH and request.clientproto == b"HTTP/1.0":
        raise VersionNotSupported(
            "this file can be had with HTTP/1.1 only",
            detail="its length is not known in advance, so HTTP/1.0 could not tell a cut transfer "
            "from a whole one",
        )


def copy_headers(request: Request, response: IResponse) -> None:
    """
    Relay the status and the fields that may pass (CONTRACT 6.6).
    """
    code = response.code
    request.setResponseCode(code, reason_phrase(code))
    # Twisted keeps the length of a body apart from the fields.  It comes first: curl does not
    # notice that a head was cut, but then it misses the body.
    if (
        response.length is not UNKNOWN_LENGTH
        and request.method != b"HEAD"
        and code not in (204, 304)
    ):
        request.setHeader(b"Content-Length", b"%d" % response.length)
    passed = _OF_304 if code == 304 else _RELAYED
    for name, values in response.headers.getAllRawHeaders():
        if name in passed and code in _ONLY_WITH.get(name, (code,)):
            request.setHeader(name, values[0])


def sanitize_headers(request: Request, name: bytes | None, inline: bool = False) -> None:
    """
    A workspace belongs to its owner: what it says must not make a browser run anything in the name
    of the platform.

    :param name: what the file is offered as, should the workspace have said nothing usable;
        ``None`` when the answer is no file.
    :param inline: whether the caller asked for viewing.
    """
    fields = request.fields
    media_type = fields.get(b"Content-Type", b"application/octet-stream")
    match = _MEDIA_TYPE.fullmatch(media_type)
    disposition = _DISPOSITION.fullmatch(fields.get(b"Content-Disposition", b""))
    shown = inline and match is not None and may_view_inline(match[1].decode("ascii"))
    if name is None:
        fields.pop(b"Content-Disposition", None)
    elif request.code in (200, 206):
        fields[b"Content-Type"] = media_type
        if disposition is None or (disposition[1].lower() == b"inline" and not shown):
            fields[b"Content-Disposition"] = file_headers.content_disposition(name, inline=shown)
    kept = request.code in (200, 206, 304)
    fields[b"Cache-Control"] = b"private, no-cache" if kept else b"no-store"
    if request.code == 304:  # more would change what the caller has of the answer before
        return
    fields[b"X-Content-Type-Options"] = b"nosniff"
    fields[b"Content-Security-Policy"] = (
        file_headers.CSP_INLINE if shown else file_headers.CSP_ATTACHMENT
    )


async def relay_body(
    request: Request, response: IResponse, clock: IReactorTime, idle_timeout: float
) -> None:
    """
    Pass the body on as fast as the caller takes it.

    :param idle_timeout: seconds without progress, on either side, after which it is cut; a proxy
        that is trusted may need longer.
    :raise UpstreamInterrupted: the workspace did not send all of it.
    """
    request.write(b"")  # the head
    transfer = request.transfer
    relay = BodyRelay(request, _expected(response), transfer.set_backpressure)
    transfer.begin_body(relay)
    response.deliverBody(relay)
    if not relay.done.called:  # else all of it came with its head
        transfer.watch(clock, idle_timeout, relay.upstream_state, Outcome.UPSTREAM_STALLED)
        # The client is late only while we wait for it.
        transfer.watch_client(
            clock, idle_timeout, lambda taken: taken if relay.paused else object()
        )
    await relay.done


def _expected(response: IResponse) -> int | None:
    """:return: the bytes of the body, if they are announced: of a part in chunks, by its range."""
    if response.length is not UNKNOWN_LENGTH:
        return int(response.length)
    part = part_of(response)
    return None if part is None else part[1] - part[0] + 1
