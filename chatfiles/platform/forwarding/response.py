"""
Turns a workspace's response into the platform's response.
"""

from __future__ import annotations

import re

from twisted.internet.interfaces import IReactorTime
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse

from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import reason_phrase, require_chunks
from chatfiles.platform.forwarding.accepted_response import ResponseForm
from chatfiles.platform.forwarding.gateway import discard, original_response, part_of
from chatfiles.rules import file_headers
from chatfiles.rules.digest_fields import REPR_DIGEST, is_repr_digest
from chatfiles.rules.media_types import may_view_inline
from chatfiles.streams.body_relay import BodyRelay
from chatfiles.streams.outcome import ClientLeft, Outcome
from chatfiles.streams.splice import Splicer

__all__ = [
    "ATTACHMENT",
    "relay_body",
    "relayed_headers",
    "require_detectable_end",
    "write_form_headers",
    "write_headers",
]

_RELAYED = frozenset(file_headers.RELAYED_RESPONSE_HEADERS)
#: Headers that have a meaning with some statuses only.
_ONLY_WITH = {
    b"Content-Range": (206, 416),
    b"Content-Disposition": (200, 206),
    REPR_DIGEST: (200, 206, 304),
}
#: The headers that a 304 may have: a cache updates its stored response with them (RFC 9110,
#: 15.4.5).  The digest is of the version that the cache has.
_OF_304 = frozenset({b"ETag", b"Last-Modified", b"Cache-Control", REPR_DIGEST})
# A media type that all clients read in the same way.  After a comma, browsers read another media
# type (https://fetch.spec.whatwg.org/#concept-header-extract-mime-type).
_MEDIA_TYPE = re.compile(
    rb"([a-z0-9.+-]+/[a-z0-9.+-]+)(?:[ \t]*;[ \t]*[a-z0-9-]+=(?:[\w.:-]+|\"[\w.:-]+\"))*",
    re.ASCII | re.IGNORECASE,
)
# The grammar of RFC 6266, 4.1.  Chromium shows an error in place of a file whose response has two
# such headers, or one that looks like two.
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb"\"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*\""
_PARAMETERS = rb"(?:[ \t]*;[ \t]*%b[ \t]*=[ \t]*(?:%b|%b))+" % (_TOKEN, _TOKEN, _QUOTED)
_DISPOSITION = re.compile(rb"(attachment|inline)" + _PARAMETERS, re.IGNORECASE)
#: The media types of errors and results that a browser shows, but not as a page.
_TEXTS = (b"application/json", b"application/problem+json", b"text/plain")
#: A well-formed ``Content-Disposition`` of a file that is not shown.
ATTACHMENT = re.compile(rb"attachment" + _PARAMETERS, re.IGNORECASE)


def require_detectable_end(request: Request, response: IResponse) -> None:
    """
    Check that the client can distinguish a complete file from an interrupted one; see
    `Request.takes_chunks`.

    :raise VersionNotSupported: 505: the workspace sends chunks, and the client uses HTTP/1.0.
    """
    if response.code in (200, 206) and response.length is UNKNOWN_LENGTH:
        require_chunks(request)


def write_headers(
    request: Request, response: IResponse, name: bytes | None, inline: bool = False
) -> None:
    """
    Set the status and headers of the platform's response.

    :param name: see `relayed_headers`; so is *inline*.
    """
    code, given = response.code, response.headers
    headers = relayed_headers(request.method, code, _length(response), given, name, inline)
    _write(request, code, headers)


def write_form_headers(request: Request, response: IResponse, form: ResponseForm) -> None:
    """
    Set the status and headers of the platform's response to an operation.

    :param form: of the operation's responses.
    """
    code, given = response.code, response.headers
    _write(request, code, form.headers(request.method, code, _length(response), given))


def _write(request: Request, code: int, headers: dict[bytes, bytes]) -> None:
    request.setResponseCode(code, reason_phrase(code))
    for field in headers.items():
        request.setHeader(*field)


def _length(response: IResponse) -> int | None:
    """:return: the length of the body in bytes; ``None`` if it is chunked."""
    return None if response.length is UNKNOWN_LENGTH else int(response.length)


def relayed_headers(
    method: bytes,
    code: int,
    length: int | None,
    given: Headers,
    name: bytes | None,
    inline: bool = False,
) -> dict[bytes, bytes]:
    """
    Copy the allowed headers of a workspace's response, and set those that decide what a browser
    does with it.  The platform does not trust a workspace: its response must not make a browser run
    code in the platform's origin.

    :param method: of the request.
    :param code: the status of the response.
    :param length: of its body in bytes; ``None`` if it is chunked.
    :param given: its headers.
    :param name: the file name to use if the workspace sent no valid one, bytes; ``None`` if the
        response is not a file.
    :param inline: whether the client asked to view the file.
    :return: the headers of the platform's response.
    """
    headers = {}
    # It is sent first: curl does not notice interrupted headers, but with a Content-Length it
    # notices that the body is missing.
    if length is not None and method != b"HEAD" and code not in (204, 304):
        headers[b"Content-Length"] = b"%d" % length
    passed = _OF_304 if code == 304 else _RELAYED
    for key, values in given.getAllRawHeaders():
        if key in passed and code in _ONLY_WITH.get(key, (code,)):
            headers[key] = values[0]
    if REPR_DIGEST in headers and not is_repr_digest(given.getRawHeaders(REPR_DIGEST, ())):
        del headers[REPR_DIGEST]
    _sanitize(headers, code, name, inline)
    return headers


def _sanitize(headers: dict[bytes, bytes], code: int, name: bytes | None, inline: bool) -> None:
    media_type = headers.get(b"Content-Type", b"application/octet-stream")
    match = _MEDIA_TYPE.fullmatch(media_type)
    disposition = _DISPOSITION.fullmatch(headers.get(b"Content-Disposition", b""))
    shown = inline and match is not None and may_view_inline(match[1].decode("ascii"))
    if name is None:
        headers.pop(b"Content-Disposition", None)
    elif code in (200, 206):
        headers[b"Content-Type"] = media_type
        if disposition is None or (disposition[1].lower() == b"inline" and not shown):
            headers[b"Content-Disposition"] = file_headers.content_disposition(name, inline=shown)
    if code != 304 and b"Content-Type" in headers and not _is_text(match):
        headers.setdefault(b"Content-Disposition", b"attachment")
    kept = code in (200, 206, 304)
    headers[b"Cache-Control"] = b"private, no-cache" if kept else b"no-store"
    if code == 304:  # more headers would change the client's stored response
        return
    headers[b"X-Content-Type-Options"] = b"nosniff"
    headers[b"Content-Security-Policy"] = (
        file_headers.CSP_INLINE if shown else file_headers.CSP_ATTACHMENT
    )


def _is_text(media_type: re.Match[bytes] | None) -> bool:
    """:return: whether a browser shows what no file has as text, and not as a page."""
    return media_type is not None and media_type[1].lower() in _TEXTS


async def relay_body(
    request: Request,
    response: IResponse,
    clock: IReactorTime,
    idle_timeout: float,
    splicer: Splicer | None = None,
) -> None:
    """
    Send the body of *response* as fast as the client takes it.

    :param idle_timeout: seconds without progress, on either side, after which the transfer is
        aborted; a trusted proxy has longer.
    :param splicer: lets the kernel relay the middle of a large body.
    :raise UpstreamInterrupted: the workspace did not send the whole body.
    """
    request.write(b"")  # sends the headers
    transfer = request.transfer
    relay = BodyRelay(request, _expected(response))
    try:
        transfer.begin_body(relay)
    except ClientLeft:  # its connection may still be open: the reset has only been scheduled
        discard(response)
        raise
    response.deliverBody(relay)
    if not relay.done.called:  # otherwise the whole body came with the headers
        original = original_response(response)
        if splicer is not None and original is not None:
            source = original.splice_source()
            to = request.channel
            splicer.begin(source, to.transport, to, relay, to_proxy=request.relayed)
        transfer.watch(clock, idle_timeout, relay.upstream_state, Outcome.UPSTREAM_STALLED)
        # The client can time out only while the relay waits for it.
        transfer.watch_client(
            clock, idle_timeout, lambda taken: taken if relay.paused else object()
        )
    await relay.done


def _expected(response: IResponse) -> int | None:
    """
    :return: the length of the body in bytes; for a part that is sent in chunks, from its
        ``Content-Range``; ``None`` if no header announces it.
    """
    length = _length(response)
    if length is not None:
        return length
    part = part_of(response)
    return None if part is None else part.length
