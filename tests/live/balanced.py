"""
The cases of downloads, through a balancer in front of the platform.
"""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.trial.unittest import SkipTest

from tests.live import ranges, transfers
from tests.live.balancer import Balancer
from tests.live.processes import SOAK, Pair
from tests.live.rawhttp import Incomplete, fetch

__all__ = ["Contents", "Paces", "Ranges", "RequestIds"]


class Facade:
    """
    A platform as its clients see it: at the balancer's URL.

    :param role: the platform; all other attributes are taken from it.
    """

    def __init__(self, role: Any, url: str) -> None:
        self._role = role
        self.url = url

    def __getattr__(self, name: str) -> Any:
        return getattr(self._role, name)


class Behind(transfers.Way):
    """
    The way through a balancer of its own.

    :cvar kind: ``nginx`` or ``haproxy``.
    :cvar changes: to the example, by kind.
    """

    kind = ""
    hop = "through"
    changes: ClassVar[dict[str, dict[str, str]]] = {}

    def setUp(self) -> None:
        super().setUp()
        node = f"127.0.0.1:{self.pair.platform.port}"
        self.balancer = Balancer(self.kind, [node], self.changes.get(self.kind, {}))
        self.addCleanup(self.balancer.stop)

    @property
    def role(self) -> Any:
        """The platform, at the balancer's URL."""
        return Facade(self.pair.platform, self.balancer.url)


class Ranges(Behind, ranges.RangeCases):
    """Ranges and conditions."""


class RequestIds(Behind):
    """The request id in the balancer's log."""

    def test_id_of_the_response(self) -> None:
        """
        The balancer logs the id of the response, which both roles log too: the client's, or the
        platform's if the client sent none or one that is refused.
        """
        self.pair.write("workspace/small.txt", b"small")
        for fields, status in (
            ({"X-Request-Id": f"given-{self.kind}"}, 200),
            ({}, 200),
            ({"X-Request-Id": "not valid"}, 200),
            ({"Authorization": "Bearer wrong"}, 401),
        ):
            target, credential = self.target("/workspace/small.txt")
            answer = fetch(self.role.url, target, {**credential, **fields})
            self.assertEqual(answer.status, status)
            request_id = answer["x-request-id"]
            self.pair.platform.logged(rf"{request_id} .* download {status} ")
            self.balancer.logged(rf" {status} .*{request_id}")


class Contents(Behind, transfers.ContentCases):
    """The content of downloads; most cases run only with ``CHATFILES_SOAK=1``."""

    ALWAYS = frozenset(
        f"test_{name}"
        for name in ("at_the_same_time", "grows", "one_connection", "shrinks", "sizes")
    )

    def setUp(self) -> None:
        super().setUp()
        if not SOAK and self._testMethodName not in self.ALWAYS:
            raise SkipTest("CHATFILES_SOAK=1 is not set")


class Paces(Behind, transfers.PaceCases):
    """
    Slow readers.  How a balancer reads depends on its buffers, so the platform has a longer timeout
    for a proxy that it trusts, and the balancer has the timeout for a client that reads nothing.
    """

    changes: ClassVar[dict[str, dict[str, str]]] = {
        "nginx": {"send_timeout 300s": "send_timeout 4s"},
        "haproxy": {"timeout client 300s": "timeout client 4s"},
    }

    @classmethod
    def make_pair(cls) -> Pair:
        waiting = ["--header-timeout=1", "--idle-timeout=1"]
        return Pair(both=waiting, platform=["--trusted-proxy=127.0.0.1"])

    def slow(self, rate: int, seconds: float = 4.0) -> None:
        """Read at a rate at which the balancer reads only every other second."""
        super().slow(max(rate, 1_000_000), seconds)

    def stalled(self) -> None:
        """Read a little, then nothing more; the balancer closes the connection."""
        about = f"stalled-{self.kind}"
        _, answer = self.begin("/workspace/slow.bin", request_id=about)
        answer.exactly(100_000)
        self.role.logged(rf"{about} .* client_left")
        self.assertRaises(Incomplete, answer.rest)
