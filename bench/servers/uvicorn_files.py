"""
``python -m bench.servers.uvicorn_files PORT DIRECTORY``: a small ASGI file server in uvicorn,
without any check.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

__all__ = ["main"]

_PIECE = 1 << 18

Send = Callable[[dict[str, Any]], Awaitable[None]]


def application(directory: str) -> Callable[..., Awaitable[None]]:
    """:return: an ASGI application that serves a directory."""

    async def serve(scope: dict[str, Any], _receive: object, send: Send) -> None:
        if scope["type"] != "http":
            return
        with open(os.path.join(directory, scope["path"].lstrip("/")), "rb") as file:  # noqa: ASYNC230
            missing = os.fstat(file.fileno()).st_size
            headers = [(b"content-length", b"%d" % missing)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            while missing:
                data = file.read(_PIECE)
                missing -= len(data)
                await send({"type": "http.response.body", "body": data, "more_body": missing > 0})

    return serve


def main(port: str, directory: str) -> None:
    """Serve."""
    uvicorn.run(
        application(directory),
        host="127.0.0.1",
        port=int(port),
        backlog=511,
        access_log=False,
        lifespan="off",
        log_level="warning",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
