"""
Writes errors as pages for people (reference/links, "Errors for people").
"""

from __future__ import annotations

from typing import Any

from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse, reason_phrase
from chatfiles.rules.accept import wants_html
from chatfiles.rules.error_page import ERROR_PAGE_HEADERS, error_page

__all__ = ["show_error_pages"]


def show_error_pages(request: Request) -> None:
    """Let the errors of *request* be pages, if its client prefers HTML to JSON."""
    if wants_html(request.requestHeaders.getRawHeaders(b"accept", ())):
        request.write_error = _write_page


def _write_page(request: Request, response: JSONResponse) -> None:
    error: Any = response.body
    page = error_page(response.status, error["error"], error["code"], request.request_id)
    request.setResponseCode(response.status, reason_phrase(response.status))
    for field in (*response.fields, *ERROR_PAGE_HEADERS):
        request.setHeader(*field)
    if request.method != b"HEAD":  # the text of a workspace's error is in the body of a GET only
        request.setHeader(b"Content-Length", b"%d" % len(page))
    request.setHeader(b"Cache-Control", b"no-store")
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    request.write(page)
    request.finish()
