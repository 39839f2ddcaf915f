"""
The response to a message that is refused before it becomes a request object.
"""

from __future__ import annotations

from http import HTTPStatus

from chatfiles.errors import ChatfilesError
from chatfiles.http.message_head import request as request_head
from chatfiles.http.server.interfaces import ConnectionSite
from chatfiles.http.server.json_text import json_text

__all__ = ["refusal_of"]


def _response(error: ChatfilesError, request_id: str, date: bytes) -> bytes:
    """
    :param error: the reason.
    :param request_id: the id of the request.
    :param date: the current time, as an IMF-fixdate (RFC 9110, 6.6.1: every 4xx has one).
    :return: the whole response, which is the last one on its connection.
    """
    body = json_text({"error": error.text, "code": error.code, "request_id": request_id})
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
    Log a refusal and make its response.

    :param site: the site, which logs it.
    :param peer: the address of the connection's peer; ``None`` if it has none.
    :param error: the reason.
    :param part: the request line and headers, as far as they have been received.
    :param whole: whether *part* is complete.
    :return: the whole response, which is the last one on its connection.
    """
    request_id = site.request_id(request_head.values_of(b"x-request-id", part)[0])
    forwarded, is_all = request_head.values_of(b"x-forwarded-for", part)
    if not (whole and is_all):  # the line of the last proxy may be missing
        forwarded = []
    site.refused(error, request_id, peer, forwarded)
    response = _response(error, request_id, site.http_date())
    if part.removeprefix(b"\r\n").startswith(b"HEAD "):  # RFC 9110, 9.3.2
        return response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    return response
