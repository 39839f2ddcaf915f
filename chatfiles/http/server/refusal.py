"""
Error responses to what never became a request.
"""

from __future__ import annotations

from chatfiles.errors import ChatfilesError
from chatfiles.http import request_head
from chatfiles.http.server.interfaces import ConnectionSite

__all__ = ["refusal_of"]


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
    site.log_refusal(error, request_id, peer, forwarded)
    response = request_head.refusal(error, request_id, site.http_date())
    if part.removeprefix(b"\r\n").startswith(b"HEAD "):  # RFC 9110, 9.3.2
        return response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    return response
