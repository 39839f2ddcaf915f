"""
The response to a request that is not well framed: it never becomes a request object.
"""

from __future__ import annotations

import json
from http import HTTPStatus

from chatfiles.errors import ChatfilesError

__all__ = ["refusal"]


def refusal(error: ChatfilesError, request_id: str, date: bytes) -> bytes:
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
