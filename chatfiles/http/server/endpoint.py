"""
Resources whose methods are coroutines, and the one place that turns an error into an answer.

Before the first byte of an answer an error becomes JSON; after it the connection is aborted, so
that nobody takes a part for the whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from chatfiles.errors import (
    BadRequest,
    ChatfilesError,
    MethodNotAllowed,
    NotFound,
    RequestTimeout,
    Unauthorized,
)
from chatfiles.http.server.request import Request
from chatfiles.http.server.transfer import Outcome

__all__ = [
    "Branch",
    "Endpoint",
    "Fields",
    "JSONResponse",
    "NoRoute",
    "error_response",
    "read_json",
    "reason_phrase",
    "write_json",
]

#: Bytes of a JSON request body that are read at most.
MAX_JSON_BYTES = 64 * 1024

Fields = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class JSONResponse:
    """
    A small answer, whole.

    :param status: the HTTP status.
    :param body: what becomes the JSON text; ``None`` for no body at all.
    :param fields: further header fields.
    """

    status: int
    body: object = None
    fields: Fields = ()


def reason_phrase(status: int) -> bytes:
    """:return: what stands behind the status (RFC 9110, 15); Twisted does not know all of them."""
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b"Unknown Status"


def error_response(error: ChatfilesError, request_id: str) -> JSONResponse:
    """
    :param error: what went wrong.
    :param request_id: of the request.
    :return: the answer that tells it (CONTRACT 4).
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
    if isinstance(error, MethodNotAllowed):
        fields.append((b"Allow", ", ".join(error.allowed).encode("ascii")))
    return JSONResponse(error.status, body, fields)


def write_json(request: Request, answer: JSONResponse) -> None:
    """Write *answer* as the whole answer to *request*."""
    request.setResponseCode(answer.status, reason_phrase(answer.status))
    for name, value in answer.fields:
        request.setHeader(name, value)
    if answer.body is None and answer.status == 204:
        request.finish()
        return
    text = json.dumps(answer.body, ensure_ascii=False).encode("utf-8") + b"\n"
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Content-Length", b"%d" % len(text))
    request.setHeader(b"Cache-Control", b"no-store")
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    request.write(text)
    request.finish()


class Endpoint(Resource):
    """
    A resource whose ``render_METHOD`` are coroutines of one argument, the request.

    They return a `JSONResponse`, or ``None`` when they have written the answer themselves, or raise
    a `ChatfilesError`.  When the caller leaves they are cancelled.

    :cvar ends_with_caller: whether others work for the answer, so that it is given up when the
        caller closes its side of the connection.
    :cvar operation: what the log calls a request for it; empty for requests that are not logged.
    """

    operation = ""
    ends_with_caller = False
    log = Logger()

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Anything below that was not declared does not exist."""
        return NoRoute()

    def render(self, request: Request) -> int:
        """Serve the request."""
        request.operation = request.operation or self.operation
        request.ends_with_caller = self.ends_with_caller
        # Twisted's render_HEAD would call render_GET; the request drops the body of a HEAD itself.
        method = "GET" if request.method == b"HEAD" else request.method.decode("ascii", "replace")
        handler = getattr(self, f"render_{method}", None)
        if handler is None:
            handler = self._refuse_method
        request.serve(Deferred.fromCoroutine(self._answer(request, handler)))
        return NOT_DONE_YET

    def allowed(self) -> Sequence[str]:
        """:return: the methods that it has."""
        own = {name[7:] for name in dir(self) if name.startswith("render_")}
        return sorted(own if "GET" in own else own - {"HEAD"})

    async def _refuse_method(self, request: Request) -> JSONResponse | None:
        raise MethodNotAllowed(self.allowed())

    async def _answer(
        self, request: Request, handler: Callable[[Request], Awaitable[JSONResponse | None]]
    ) -> None:
        try:
            answer = await handler(request)
        except Exception as error:
            answer = self._failed(request, error)
            if answer is None:
                return
        if request.disconnected:
            return
        if answer is not None:
            write_json(request, answer)
        else:
            request.finish()

    def _failed(self, request: Request, error: Exception) -> JSONResponse | None:
        told = error if isinstance(error, ChatfilesError) else ChatfilesError()
        outcome = told.code if told is error else getattr(error, "outcome", "")
        was_cancelled = request.disconnected and isinstance(error, CancelledError)
        if not (outcome or was_cancelled):
            self.log.failure("{request_id} failed", request_id=request.request_id)
        elif told.status >= 500 and (why := _of_the_system(told)):
            # Nothing for the caller, but the operator can do something about it.
            self.log.warn(
                "{request_id} {code}: {why}", request_id=request.request_id, code=told.code, why=why
            )
        if request.disconnected or request.startedWriting:
            request.abort(outcome or Outcome.INTERNAL_ERROR)
            return None
        request.transfer.refuse(told.code)
        return error_response(told, request.request_id)


def _of_the_system(error: BaseException) -> str:
    """:return: what the system said that led to *error*; empty if it was not the system."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
        cause = cause.__cause__
    return ""


class NoRoute(Endpoint):
    """What is found where nothing is, nor anything below."""

    isLeaf = True

    def render(self, request: Request) -> int:
        """Answer 404 to any method."""
        write_json(
            request, error_response(NotFound("no such route", code="no_route"), request.request_id)
        )
        return NOT_DONE_YET


class Branch(NoRoute):
    """What has only children."""

    isLeaf = False


async def read_json(request: Request) -> dict[str, Any]:
    """
    Read a small JSON object from the body.  As a head, it has the header timeout in total.

    :raise BadRequest: it is not one.
    :raise TooLarge: it is over `MAX_JSON_BYTES`.
    :raise RequestTimeout: it does not come in time.
    """
    site = request.site
    error = RequestTimeout("request body was not received in time")
    late = site.reactor.callLater(site.header_timeout, request.body.fail, error)
    try:
        text = await request.body.read(MAX_JSON_BYTES)
    finally:
        if late.active():
            late.cancel()
    try:
        value = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BadRequest("request body must be a JSON object", code="invalid_json")
    return value
