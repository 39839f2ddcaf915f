"""
Serves the page of metrics, on a listener of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.http.server.router import Route, Router
from chatfiles.http.server.site import Site
from chatfiles.runtime.metrics.cells import Cells
from chatfiles.runtime.metrics.families import Layout
from chatfiles.runtime.role_service import Listener

__all__ = ["MetricsServer", "page_writer", "require_library"]

_MISSING = "--metrics-listen needs prometheus_client: pip install 'chatfiles[metrics]'"
_HEADER_TIMEOUT, _IDLE_TIMEOUT = 10.0, 60.0

#: Takes the values of ``Accept``; returns the page, and its media type.
WritePage = Callable[[Sequence[bytes]], tuple[bytes, str]]


def require_library() -> None:
    """:raise ValueError: `prometheus_client` is not installed."""
    try:
        import prometheus_client  # noqa: F401, PLC0415
    except ImportError:
        raise ValueError(_MISSING) from None


def page_writer(
    layout: Layout, cells: Cells, pids: Callable[[], Sequence[int]] = lambda: (os.getpid(),)
) -> WritePage:
    """:return: writes the page; for the parameters, see `Page`."""
    from chatfiles.runtime.metrics.page import Page  # noqa: PLC0415 - it needs an extra

    return Page(layout, cells, pids).write


class MetricsServer:
    """
    A listener, and what is served there: ``GET /metrics``, without a credential.

    :param reactor: of this process.
    :param listener: where it listens.
    :param write: writes the page.
    :param update: called before each page.
    """

    def __init__(
        self,
        reactor: Any,
        listener: Listener,
        write: WritePage,
        update: Callable[[], object] = lambda: None,
    ) -> None:
        self.listener = listener
        self._write = write
        self._update = update
        router = Router([Route("GET", "/metrics", None, "", self._page)], _dispatch)
        self.site = Site(
            router,
            reactor,
            header_timeout=_HEADER_TIMEOUT,
            idle_timeout=_IDLE_TIMEOUT,
            observers=(),
        )

    async def _page(self, request: Request) -> None:
        self._update()
        page, media_type = self._write(request.requestHeaders.getRawHeaders(b"accept", ()))
        request.setHeader(b"Content-Type", media_type.encode("ascii"))
        request.setHeader(b"Content-Length", b"%d" % len(page))
        request.setHeader(b"Cache-Control", b"no-store")
        request.write(page)


async def _dispatch(
    route: Route[None], request: Request, _parameters: Sequence[str]
) -> JSONResponse | None:
    return await route.handler(request)
