"""
Reads a small JSON object from the body of a request.
"""

from __future__ import annotations

import json
from typing import Any

from chatfiles.errors import BadRequest, RequestTimeout, TooLarge, UnsupportedMediaType
from chatfiles.http.server.deadline import Deadline
from chatfiles.http.server.request import Request
from chatfiles.rules.header_fields import is_coded

__all__ = ["MAX_JSON_BYTES", "read_json", "require_json_head"]

#: The largest JSON request body that is read, in bytes.
MAX_JSON_BYTES = 64 * 1024


def require_json_head(request: Request) -> None:
    """
    Check what the headers say of a body for `read_json`, before anything is read of it.

    :raise UnsupportedMediaType: the body has a content coding.
    :raise TooLarge: it declares more than `MAX_JSON_BYTES` bytes.
    """
    if is_coded(request.requestHeaders):
        raise UnsupportedMediaType("a JSON body must not have a Content-Encoding")
    if (request.body.length or 0) > MAX_JSON_BYTES:
        raise TooLarge


async def read_json(request: Request, *, optional: bool = False) -> dict[str, Any]:
    """
    Read a small JSON object from the body.  The whole body must arrive within the header timeout.

    :param request: the request.
    :param optional: whether an absent or empty body means ``{}``.
    :return: the object.
    :raise UnsupportedMediaType: the body has a content coding.
    :raise BadRequest: the body is not a JSON object.
    :raise TooLarge: the body has more than `MAX_JSON_BYTES` bytes.
    :raise RequestTimeout: the body was not complete in time.
    """
    require_json_head(request)
    site = request.site
    error = RequestTimeout("request body was not received in time")
    deadline = Deadline(site.reactor, lambda: request.body.fail(error))
    deadline.set(site.header_timeout)
    try:
        text = await request.body.read(MAX_JSON_BYTES)
    finally:
        deadline.stop()
    return {} if optional and not text else _json_object(text)


def _json_object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BadRequest("request body must be a JSON object", code="invalid_json")
    return value
