"""
Notes what a platform responds.  It runs in the process of the role; see `tests.openapi.record`.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

from chatfiles.http.server.fast_path import FastRequest
from chatfiles.http.server.request import Request
from chatfiles.http.server.site import Site
from chatfiles.rules.error_codes import ERROR_CODES

__all__ = ["install"]

#: The most bytes of an error that are read.
_MAX_ERROR = 64 * 1024


def install(path: str) -> None:
    """
    Note each kind of response once.

    :param path: the file that a line of JSON is added to for each: method, path, status and code.
    """
    noted: set[tuple[str, str, int, str]] = set()

    def note(method: bytes, target: bytes, status: int, code: str = "") -> None:
        route = target.partition(b"?")[0].decode("latin-1")
        seen = (method.decode("latin-1"), route, status, code)
        if seen in noted:
            return
        # Not if the process has no descriptor left, as some tests want it.
        with contextlib.suppress(OSError), open(path, "a", encoding="ascii") as file:
            file.write(json.dumps(seen) + "\n")
            noted.add(seen)

    write, ended, respond = Request.write, Site.request_ended, FastRequest.respond

    def write_noted(self: Any, data: bytes) -> None:
        if self.code >= 400:
            given = getattr(self, "error_body", b"") + data
            self.error_body = given[:_MAX_ERROR]
        write(self, data)

    def ended_noted(self: Any, request: Request) -> None:
        if request.startedWriting:
            note(_method(request), request.path, request.code, _code(request))
        ended(self, request)

    def respond_noted(self: Any, status: int, start: bytes, fields: bytes, body: bytes) -> None:
        note(self.method, self.target, status, _code_in(bytes(body)) if status >= 400 else "")
        respond(self, status, start, fields, body)

    patched: list[tuple[Any, str, Any]] = [
        (Request, "write", write_noted),
        (Site, "request_ended", ended_noted),
        (FastRequest, "respond", respond_noted),
    ]
    for owner, name, function in patched:
        setattr(owner, name, function)


def _method(request: Request) -> bytes:
    """:return: the method that counts."""
    meant = request.requestHeaders.getRawHeaders(b"x-http-method-override", ())
    if request.method == b"POST" and meant and request.code != 405:
        return meant[0] if b"/uploads/" in request.path else request.method
    return request.method


def _code(request: Request) -> str:
    """:return: the code of an error; of one that was relayed, its body has it."""
    if request.code < 400:
        return ""
    if request.transfer.outcome in ERROR_CODES:
        return str(request.transfer.outcome)
    return _code_in(getattr(request, "error_body", b""))


def _code_in(body: bytes) -> str:
    try:
        code = json.loads(body).get("code", "")
    except (ValueError, AttributeError):
        return ""
    return code if isinstance(code, str) else ""
