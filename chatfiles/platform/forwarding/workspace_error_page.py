"""
An error of a workspace, for a client that is shown pages (reference/links, "Errors for people").
"""

from __future__ import annotations

import json
import re

from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IResponse

from chatfiles.errors import ChatfilesError
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import reason_phrase
from chatfiles.platform.forwarding.small_response_body import read_small_body

__all__ = ["RelayedError", "raise_for_people"]

#: The most bytes of an error that are read, and the most characters of its text that are shown.
MAX_ERROR_BYTES, MAX_TEXT = 64 * 1024, 200
#: The longest time until the next attempt that a workspace may ask for: a day, in seconds.
MAX_RETRY_AFTER = 86_400
#: Control characters, and those that change the direction of text, which could turn a sentence.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_CODE = re.compile(r"[a-z]+(?:_[a-z]+)*")


class RelayedError(ChatfilesError):
    """
    An error of a workspace.

    :param status: of its response.
    :param text: its ``error``; the reason phrase if it has none.
    :param code: its ``code``.
    :param retry_after: its ``retry_after_seconds``; ``None`` if it has none.
    """

    def __init__(self, status: int, text: str, code: str, retry_after: int | None) -> None:
        super().__init__(text, code=code, retry_after=retry_after)
        self.status = status


async def raise_for_people(request: Request, response: IResponse, clock: IReactorTime) -> None:
    """
    Raise the error that a workspace reports, if the client is shown pages.  For programs it is
    relayed as it is.

    :param request: of the client.
    :param response: of the workspace.
    :raise RelayedError: the error.
    :raise UpstreamFailed: the error was interrupted.
    :raise UpstreamTimeout: the error was not complete in time.
    """
    if request.write_error is None or response.code < 400:
        return
    # A 416 says how large the file is (RFC 9110, 15.5.17).
    for value in response.headers.getRawHeaders(b"content-range", ())[:1]:
        if response.code == 416:
            request.setHeader(b"Content-Range", value)
    body = await read_small_body(response, MAX_ERROR_BYTES, clock, request.site.header_timeout)
    raise _error(response.code, body or b"")


def _error(status: int, body: bytes) -> RelayedError:
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):
        error = None
    given = error if isinstance(error, dict) else {}
    text, code = given.get("error"), given.get("code")
    text = _HIDDEN.sub("", text) if isinstance(text, str) else ""
    if not text:
        text = reason_phrase(status).decode("ascii")
    text = text[:MAX_TEXT].encode("utf-8", "replace").decode("utf-8")  # JSON can name a surrogate
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        code = f"status_{status}"
    seconds = given.get("retry_after_seconds")
    retry_after = min(seconds, MAX_RETRY_AFTER) if type(seconds) is int and seconds >= 0 else None
    return RelayedError(status, text, code, retry_after)
