"""
``/health`` and ``/ready``: what balancers and service managers ask of both roles.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from chatfiles.errors import Unavailable
from chatfiles.http.server.endpoint import Endpoint, JSONResponse
from chatfiles.http.server.request import Request

__all__ = ["Health", "Ready"]


class Health(Endpoint):
    """
    ``GET /health``: the process serves.

    :param role: its role.
    """

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    async def render_GET(self, request: Request) -> JSONResponse:
        """200, always."""
        return JSONResponse(200, {"status": "ok", "role": self._role})


class Ready(Endpoint):
    """
    ``GET /ready``: the role can do its work.

    :param role: its role.
    :param check: raises `ChatfilesError` with what is missing.
    """

    def __init__(self, role: str, check: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self._role = role
        self._check = check

    async def render_GET(self, request: Request) -> JSONResponse:
        """200, or 503 naming what is missing."""
        if request.site.draining:
            raise Unavailable("draining", code="draining")
        await self._check()
        return JSONResponse(200, {"status": "ready", "role": self._role})
