"""
A platform below ``/files`` of another program's site::

    ADMIN_TOKEN=… python examples/embed_platform.py 8080 /var/lib/chat
"""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.resource import Resource

from chatfiles.embedding import embedded_platform
from chatfiles.http.server.site import Site


class Greeting(Resource):
    """A resource of this program."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        """:return: a text."""
        request.setHeader(b"Content-Type", b"text/plain")
        return b"files are below /files\n"


async def main(reactor: Any, port: str, directory: str) -> None:
    """Serve until the process is stopped."""
    platform = embedded_platform(
        reactor,
        [f"--database=sqlite:{directory}/registry.db", "--upstream-allow=127.0.0.0/8"],
        admin_token=os.environ["ADMIN_TOKEN"],
    )
    await platform.begin()
    root = Resource()
    root.putChild(b"files", platform.resource)
    root.putChild(b"", Greeting())
    site = Site(root, reactor, header_timeout=30, idle_timeout=60)
    listening = reactor.listenTCP(int(port), site, interface="127.0.0.1")
    print(f"http://127.0.0.1:{listening.getHost().port}", flush=True)

    async def stop() -> None:
        await listening.stopListening()
        await site.drain(30)  # running transfers may finish
        await platform.stopService()

    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(stop()))
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
