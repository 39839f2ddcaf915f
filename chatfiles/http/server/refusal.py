"""
The response to a request that is not well framed: it never becomes a request object.
"""

from __future__ import annotations

import json
from http import HTTPStatus

from chatfiles.errors import ChatfilesError
from chatfiles.http.message_head import request as request_head
from chatfiles.http.server.interfaces import ConnectionSite

__all__ = ["refusal_of"]


def _response(error: ChatfilesError, request_id: str, date: bytes) -> bytes:
    """
    :param error: what is wrong with a request that is not well framed.
    :param date: now, as an IMF-fixdate (RFC 9110, 6.6.1: every 4xx has one).
    :return: the whole response, which is the last one on its connection.
    """
    body = json.dumps({"error": error.text, "code": error.code, "request_id": request_id}).encode()
    phrase = HTTPStatus(error.status).phrase.encode("ascii")
    return (
        b"HTTP/1.1 %d %s\r\nConnection: close\r\nServer: chatfiles\r\nDate: %s\r\n"
        b"X-Request-Id: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n%s"
        % (error.status, phrase, date, request_id.encode(), len(body), body)
    )


def refusal_of(
    site: ConnectionSite, peer: str | None, error: ChatfilesError, part: bytes, *, whole: bool
) -> bytes:
    """
    Log a refusal.

    :param peer: the address at the other end of the connection.
    :param error: what is wrong with the head.
    :param part: what there is of the head.
    :param whole: whether that is all of it.
    :return: the whole response, the last one on its connection.
    """
    request_id = site.request_id(request_head.values_of(b"x-request-id", part)[0])
    forwarded, is_all = request_head.values_of(b"x-forwarded-for", part)
    if not (whole and is_all):  # the line of the nearest proxy may be missing
        forwarded = []
    site.refused(error, request_id, peer, forwarded)
    response = _response(error, request_id, site.http_date())
    if part.removeprefix(b"\r\n").startswith(b"HEAD "):  # RFC 9110, 9.3.2
        return response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    return response
