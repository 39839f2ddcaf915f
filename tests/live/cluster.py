"""
A service of several nodes: platforms that share a PostgreSQL, and a workspace.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from twisted.trial.unittest import SkipTest

from tests.live.pair import Pair
from tests.live.role import Role, listen_on
from tests.live.wiretap import Wiretap
from tests.support.ports import free_port
from tests.support.postgres_server import Database, server

__all__ = ["Cluster"]

DELAY = "--drain-delay=1.5"
LIMIT = f"--max-request-bytes={20 << 20}"
TRUSTING = "--trusted-proxy=127.0.0.1"


class Cluster(Pair):
    """
    Two platforms on one PostgreSQL, and a workspace that both reach.

    They share one admin token, in a file.  Only the first trusts proxies, and only the second's
    connections to its registry can be interrupted.

    :param options: of both platforms.
    :ivar nodes: the platforms; the first one is also `platform`.
    :ivar way: the proxy between the second and PostgreSQL.
    """

    def __init__(self, options: Sequence[str] = ()) -> None:
        self._options = options
        shared = Database(server())
        parts = urlsplit(shared.url)
        if not parts.hostname:
            raise SkipTest("PostgreSQL has to be reached by TCP")
        self.way = Wiretap(parts.port or 5432, parts.hostname)
        # The URL contains a password, so it is passed in the environment.
        urls = [shared.url, shared.server.url_of(shared.name, self.way.address)]
        self._told = [{"CHATFILES_DATABASE": url} for url in urls]
        super().__init__(
            both=[LIMIT],
            platform=[DELAY, TRUSTING, listen_on(free_port()), *self.options(0)],
            told=self._told[0],
        )
        self.nodes = [self.platform]
        try:
            self.nodes.append(self._start(1, listen_on(free_port())))
        except BaseException:
            self.discard()
            raise

    def options(self, number: int) -> list[str]:
        """:return: further options of a node."""
        return list(self._options)

    def addresses(self) -> list[str]:
        """:return: ``HOST:PORT`` of each node."""
        return [f"127.0.0.1:{node.port}" for node in self.nodes]

    def restart(self, number: int) -> None:
        """Start a node that has ended again, on the same port."""
        old = self.nodes[number]
        self.roles.remove(old)
        more = [TRUSTING] if number == 0 else []
        node = self._start(number, listen_on(old.port), *more)
        self.nodes[number] = node
        self.platform = self.nodes[0]

    def _start(self, number: int, *options: str) -> Role:
        node = Role(
            "platform",
            f"--state-dir={self.state}-{number}",
            f"--admin-token-file={self.state}/admin-token",
            "--upstream-allow=127.0.0.0/8",
            DELAY,
            LIMIT,
            *self.node_options(),
            *self.options(number),
            *options,
            told=self._told[number],
        )
        node.secrets |= self.platform.secrets
        self.roles.append(node)
        assert node.url, "it listens"
        return node

    def discard(self) -> None:
        super().discard()
        self.way.close()
