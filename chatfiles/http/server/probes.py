"""
``/health`` and ``/ready``: probes of both roles, for load balancers and service managers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from chatfiles.errors import Unavailable
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.http.server.router import Handler

__all__ = ["health", "ready"]

ContextT = TypeVar("ContextT")


def health(role: str) -> Handler:
    """
    ``GET /health``: the process serves requests.

    :param role: the role's name, for the response.
    :return: the handler, a function of a context and a request.
    """

    async def handler(_context: object, _request: Request) -> JSONResponse:
        return JSONResponse(200, {"status": "ok", "role": role})

    return handler


def _no_warnings(_context: object) -> Sequence[str]:
    return ()


def ready(
    role: str,
    check: Callable[[ContextT], Awaitable[None]],
    warnings: Callable[[ContextT], Sequence[str]] = _no_warnings,
) -> Handler:
    """
    ``GET /ready``: the role can do its work.

    :param role: the role's name, for the response.
    :param check: called with the role's context; raises `ChatfilesError` if the role is not ready.
    :param warnings: called with the role's context; returns what is wrong although the role is
        ready, for operators.
    :return: the handler, a function of a context and a request.
    """

    async def handler(context: ContextT, request: Request) -> JSONResponse:
        if request.site.draining:
            raise Unavailable("draining", code="draining")
        refusal = request.site.refusal()
        if refusal is not None:
            raise refusal
        await check(context)
        body: dict[str, object] = {"status": "ready", "role": role}
        if found := warnings(context):
            body["warnings"] = list(found)
        return JSONResponse(200, body)

    return handler
