"""
``python -m bench.servers.twisted_files PORT DIRECTORY``: the file server of twisted.web.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import reactor
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import File

__all__ = ["main", "run"]


class _QuietSite(Site):
    """Writes no access log, as nginx does not."""

    def log(self, request: Request) -> None:
        """Log nothing."""


def run(port: int, resource: Resource) -> None:
    """Serve *resource* on a port of 127.0.0.1 until the process ends."""
    site: Any = _QuietSite(resource)
    reactor.listenTCP(port, site, backlog=511, interface="127.0.0.1")
    reactor.run()


def main(port: str, directory: str) -> None:
    """Serve."""
    run(int(port), File(directory))


if __name__ == "__main__":
    main(*sys.argv[1:])
