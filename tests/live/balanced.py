"""
The cases of downloads, for the way through a balancer before the platform.
"""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.trial.unittest import SkipTest

from tests.live import ranges, transfers
from tests.live.balancer import Balancer
from tests.live.processes import SOAK, Pair
from tests.live.rawhttp import Incomplete

__all__ = ["Contents", "Paces", "Ranges"]


class Facade:
    """
    A platform as its callers see it: where the balancer is.

    :param role: the platform; everything else is its.
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
        """Whom we ask."""
        return Facade(self.pair.platform, self.balancer.url)


class Ranges(Behind, ranges.RangeCases):
    """What is asked."""


class Contents(Behind, transfers.ContentCases):
    """What is sent; all of it only where there is time for that."""

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
    How it is taken.  What a balancer takes depends on its buffers, so the platform waits longer for
    one that it trusts, and how long a client may take nothing is for the balancer to say.
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
        """Read at a pace at which the balancer takes something every other second only."""
        super().slow(max(rate, 1_000_000), seconds)

    def stalled(self) -> None:
        """Read a little, and then nothing more."""
        about = f"stalled-{self.kind}"
        _, answer = self.begin("/workspace/slow.bin", request_id=about)
        answer.exactly(100_000)
        self.role.logged(rf"{about} .* client_left")
        self.assertRaises(Incomplete, answer.rest)
