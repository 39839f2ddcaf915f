"""
Runs the coroutine that serves a request, and turns its result into a response.

Only this module turns errors into responses.  Before the first byte of the response, an error is
sent as JSON.  After it, the connection is aborted, so that the client sees that the response is
incomplete.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.web.server import NOT_DONE_YET

from chatfiles.errors import (
    ChatfilesError,
    MethodNotAllowed,
    NotFound,
    Unauthorized,
    VersionNotSupported,
)
from chatfiles.http.server.json_text import json_text
from chatfiles.http.server.request import Request
from chatfiles.streams.outcome import Outcome

__all__ = [
    "Fields",
    "JSONResponse",
    "error_response",
    "reason_phrase",
    "require_chunks",
    "serve",
    "write_json",
    "write_no_route",
]

Fields = Sequence[tuple[bytes, bytes]]

_log = Logger()


@dataclass(frozen=True, slots=True)
class JSONResponse:
    """
    A small response, held in memory as a whole.

    :param status: the HTTP status.
    :param body: any value that `json.dumps` accepts; with status 204, ``None`` for no body.
    :param fields: further headers, as pairs of name and value.
    """

    status: int
    body: object = None
    fields: Fields = ()


#: What a handler returns: ``None`` when it has written the response itself.
Handling = Coroutine[Any, Any, JSONResponse | None]


def reason_phrase(status: int) -> bytes:
    """:return: the reason phrase of a status (RFC 9110, 15).  Twisted lacks some of them."""
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b"Unknown Status"


def error_response(error: ChatfilesError, request_id: str) -> JSONResponse:
    """
    :param error: the error to report.
    :param request_id: the id of the request.
    :return: the response that reports it.
    """
    body: dict[str, object] = {
        "error": error.text,
        "code": error.code,
        "request_id": request_id,
    }
    fields: list[tuple[bytes, bytes]] = []
    if error.detail is not None:
        body["detail"] = error.detail
    if error.retry_after is not None:
        body["retry_after_seconds"] = error.retry_after
        fields.append((b"Retry-After", b"%d" % error.retry_after))
    if isinstance(error, Unauthorized):
        fields.append((b"WWW-Authenticate", b"Bearer"))
    fields += error.fields
    if isinstance(error, MethodNotAllowed):
        fields.append((b"Allow", ", ".join(error.allowed).encode("ascii")))
    return JSONResponse(error.status, body, fields)


def write_json(request: Request, response: JSONResponse) -> None:
    """Write *response* as the complete response to *request*."""
    request.setResponseCode(response.status, reason_phrase(response.status))
    for name, value in response.fields:
        request.setHeader(name, value)
    if response.body is None and response.status == 204:
        request.finish()
        return
    text = json_text(response.body) + b"\n"
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Content-Length", b"%d" % len(text))
    request.setHeader(b"Cache-Control", b"no-store")
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    request.write(text)
    request.finish()


def write_no_route(request: Request) -> None:
    """Write the 404 response to *request*, whose path has no route."""
    error = NotFound("no such route", code="no_route")
    request.transfer.refuse(error.code)
    write = request.write_error or write_json
    write(request, error_response(error, request.request_id))


def require_chunks(request: Request) -> None:
    """:raise VersionNotSupported: 505: the client cannot receive a body of unknown length."""
    if not request.takes_chunks:
        raise VersionNotSupported(
            "this can be had with HTTP/1.1 only",
            detail="its length is not known in advance, so HTTP/1.0 could not tell a cut transfer "
            "from a whole one",
        )


def serve(request: Request, handling: Handling) -> int:
    """
    Serve *request* with a coroutine, which is cancelled when the client disconnects.

    :param request: the request.
    :param handling: returns a `JSONResponse`, or ``None`` if it has written the response itself,
        or raises a `ChatfilesError`.
    :return: the value that ``render`` of a resource has to return.
    """
    request.serve(Deferred.fromCoroutine(_respond(request, handling)))
    return NOT_DONE_YET


async def _respond(request: Request, handling: Handling) -> None:
    write: Callable[[Request, JSONResponse], None] = write_json
    try:
        response = await handling
    except Exception as error:
        response = _failed(request, error)
        if response is None:
            return
        write = request.write_error or write_json
    if request.disconnected:
        return
    if response is not None:
        write(request, response)
    else:
        request.finish()


def _failed(request: Request, error: Exception) -> JSONResponse | None:
    """:return: the response that reports *error*; ``None`` if it can no longer be sent."""
    reported = error if isinstance(error, ChatfilesError) else ChatfilesError()
    outcome = reported.code if reported is error else getattr(error, "outcome", "")
    was_cancelled = request.disconnected and isinstance(error, CancelledError)
    if not (outcome or was_cancelled):
        _log.failure("{request_id} failed", request_id=request.request_id)
    elif reported.status >= 500 and (why := reported.reason or _system_error(reported)):
        # Not for the client: the operator can act on it.
        _log.warn(
            "{request_id} {code}: {why}", request_id=request.request_id, code=reported.code, why=why
        )
    if request.disconnected or request.startedWriting:
        request.abort(outcome or Outcome.INTERNAL_ERROR)
        return None
    request.transfer.refuse(reported.code)
    return error_response(reported, request.request_id)


def _system_error(error: BaseException) -> str:
    """:return: the system error that caused *error*, and where it happened; empty without one."""
    cause: BaseException | None = error
    place = ""
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            # Not its file name, which may be from the request.
            return ": ".join(filter(None, (os.strerror(cause.errno), place)))
        place = getattr(cause, "place", "") or place
        cause = cause.__cause__
    return ""
