"""
Two platforms on one PostgreSQL behind nginx and HAProxy, with the configurations that the
documentation shows.
"""

from __future__ import annotations

from typing import ClassVar

from tests.live import several_nodes


class NginxTests(several_nodes.Cases):
    """nginx does not request ``/ready``: it notices a failed node by failed requests."""

    kind = "nginx"

    def steady_upload(self) -> str | None:
        """
        A download instead of an upload: nginx does not send an upload that reaches a node just when
        that one stops listening to the other node.
        """
        return self.download_small()


class HAProxyTests(several_nodes.Cases):
    """HAProxy requests ``/ready``; here four times as often as in the example."""

    kind = "haproxy"
    changes: ClassVar[dict[str, str]] = {"check inter 1s": "check inter 250ms"}

    def notices(self, number: int, state: str) -> None:
        self.balancer.logged(rf"Server platforms/platform-{number} is {state}")

    def test_registry_away(self) -> None:
        """A node that cannot reach the registry receives no requests until it can."""
        self.cluster.way.cut()
        self.addCleanup(self.cluster.way.restore)
        self.notices(2, "DOWN")
        self.assertRegex(self.balancer.log, r"platform-2 is DOWN.*Layer7 wrong status, code: 503")
        for _ in range(several_nodes.ENOUGH):
            self.assertIsNone(self.download_small())
        self.cluster.way.restore()
        self.notices(2, "UP")
        self.used_again(1)
