"""
What all operations of one client share.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Any

from chatfiles.client.core.answers import JSON_LIMIT, ask_json
from chatfiles.client.core.names import route
from chatfiles.client.core.progress import Callback, Progress
from chatfiles.client.core.retries import Retries
from chatfiles.client.core.steps import Request, Response, Steps

__all__ = ["Context", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """
    The limits of uploads in one request, in bytes (reference/routes).

    :param file: of one file.
    :param request: of a whole form.
    """

    file: int
    request: int


@dataclass
class Context:
    """
    One workspace of one platform.

    :param base_url: of the platform, without a final slash.
    :param workspace: the id.
    :param retries: how often the requests of one call are sent again.
    :param now: returns seconds since the epoch.
    :param clock: returns seconds that only rise.
    :ivar limits: what the platform allows; ``None`` before it was asked, or if it does not say.
    """

    base_url: str
    workspace: str
    retries: int
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    limits: Limits | None = field(default=None, init=False)

    def route(self, operation: str, path: bytes | None = None, **query: str | int | None) -> str:
        """See `names.route`."""
        return route(self.workspace, operation, path, **query)

    def new_retries(self) -> Retries:
        """:return: the retries of one call."""
        return Retries(self.retries)

    def progress(self, callback: Callback | None) -> Progress:
        """:return: what notifies *callback*."""
        return Progress(callback, self.clock)

    def ask(
        self,
        request: Request,
        expected: Container[int],
        retries: Retries | None = None,
        limit: int = JSON_LIMIT,
    ) -> Steps[tuple[Response, Any]]:
        """See `answers.ask_json`."""
        return ask_json(request, expected, retries or self.new_retries(), self.now, limit)
