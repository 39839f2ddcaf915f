"""
``python -m bench.servers.aiohttp_proxy PORT UPSTREAM_PORT``: a proxy of aiohttp's server and
client, without any check.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

from aiohttp import ClientSession, TCPConnector, web

__all__ = ["main"]


def application(upstream: int) -> web.Application:
    """:return: what forwards every ``GET`` to a port of 127.0.0.1."""
    made = web.Application()
    session: list[ClientSession] = []

    async def forward(request: web.Request) -> web.StreamResponse:
        async with session[0].get(f"http://127.0.0.1:{upstream}{request.raw_path}") as found:
            length = {"Content-Length": found.headers["Content-Length"]}
            response = web.StreamResponse(status=found.status, headers=length)
            await response.prepare(request)
            async for part in found.content.iter_any():
                await response.write(part)
        return response

    async def client(_application: web.Application) -> AsyncIterator[None]:
        connector = TCPConnector(limit=0)
        async with ClientSession(connector=connector, auto_decompress=False) as opened:
            session.append(opened)
            yield

    made.cleanup_ctx.append(client)
    made.router.add_get("/{path:.*}", forward)
    return made


def main(port: str, upstream: str) -> None:
    """Serve."""
    web.run_app(
        application(int(upstream)),
        host="127.0.0.1",
        port=int(port),
        backlog=511,
        access_log=None,
        print=None,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
