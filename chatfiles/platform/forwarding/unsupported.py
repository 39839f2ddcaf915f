"""
Recognizes workspaces that lack the route of an operation: older ones, and third-party ones
(reference/operations, "Workspaces without an operation").

Most frameworks respond 404 then, which a client would take for a missing file.
"""

from __future__ import annotations

import json
import re

from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IResponse

from chatfiles.platform import error_texts
from chatfiles.platform.forwarding.gateway import original_response
from chatfiles.platform.forwarding.small_response_body import read_small_body

__all__ = ["is_operation_error", "require_supported"]

#: The most bytes of an error that are read.
MAX_ERROR_BYTES = 64 * 1024
#: Codes with which a workspace of chatfiles says that it has no such route, or not for the method.
_OF_ROUTES = frozenset({"no_route", "method_not_allowed"})
_CODE = re.compile(r"[a-z]+(?:_[a-z]+)+")


async def require_supported(
    method: bytes, response: IResponse, clock: IReactorTime, seconds: float
) -> IResponse:
    """
    :param method: of the request.  A response to ``HEAD`` has no body that could tell why it is 404
        or 405, so it always passes.
    :param response: of a workspace.
    :param seconds: in which the body of a 404 or 405 must arrive.
    :return: *response*, or an equal one whose body has not been delivered yet.
    :raise NotImplementedHere: 501, the workspace lacks the route.
    :raise UpstreamFailed: the body of a 404 or 405 was interrupted.
    :raise UpstreamTimeout: the body of a 404 or 405 did not arrive in time.
    """
    original = original_response(response)
    if method == b"HEAD" or response.code not in (404, 405) or original is None:
        return response
    body = await read_small_body(response, MAX_ERROR_BYTES, clock, seconds)
    if body is None or not is_operation_error(body):
        raise error_texts.unsupported_operation()
    return original.with_body(body)


def is_operation_error(body: bytes) -> bool:
    """
    :param body: of a 404 or 405.
    :return: whether it is an error of an operation of chatfiles: a JSON object with a text and a
        code (reference/errors, "Form"), which is none of its router.
    """
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):
        return False
    if not isinstance(error, dict) or not isinstance(error.get("error"), str):
        return False
    code = error.get("code")
    return isinstance(code, str) and bool(_CODE.fullmatch(code)) and code not in _OF_ROUTES
