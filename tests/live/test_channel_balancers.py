"""
reference/channel, "Balancers": workspaces that connect by themselves, through nginx or HAProxy with
the configuration that the documentation shows.
"""

from __future__ import annotations

import os
import time

from twisted.trial.unittest import SkipTest

from tests.live.balancer import Balancer
from tests.live.fake_workspace import FakeWorkspace
from tests.live.platform_case import PlatformCase
from tests.live.processes import SOAK, until

#: Longer than what the examples allow a connection that is silent, if it is not a tunnel.
LONG = 80.0


class Balanced(PlatformCase):
    """A workspace behind a balancer; its clients are not."""

    kind = ""

    def setUp(self) -> None:
        super().setUp()
        node = f"127.0.0.1:{self.pair.platform.port}"
        self.balancer = Balancer(self.kind, [node])
        self.addCleanup(self.balancer.stop)
        workspace_id, token = self.pair.add(None, delivery_mode="poll")
        self.content = os.urandom(4 << 20)
        files = {"/workspace/a.txt": self.content}
        self.fake = FakeWorkspace(self.balancer.url, workspace_id, token, files)
        self.addCleanup(self.fake.close)
        self.pair.hide(self.fake.register().json["platform_inbound_secret"])

    def test_transfers(self) -> None:
        """The upgrade passes; so do transfers in both directions, again and again."""
        self.fake.park(2)
        for _ in range(3):
            response = self.ask(self.target(self.fake.id), self.fake.token)
            self.assertEqual((response.status, response.body), (200, self.content))
        self.assertEqual(self.upload(self.fake.id).status, 200)

    def test_end(self) -> None:
        """The end of a connection reaches the platform."""
        self.fake.park(1)
        self.assertEqual(self.ask(self.target(self.fake.id), self.fake.token).status, 200)
        self.fake.close()
        until(lambda: not self.fake.connections, "it is closed")
        since = time.monotonic()
        response = self.ask(self.target(self.fake.id), self.fake.token)
        self.assertEqual(response.json["code"], "workspace_offline")
        self.assertLess(time.monotonic() - since, 25.0)

    def test_silence(self) -> None:
        """A connection lives on while nothing happens."""
        if not SOAK:
            raise SkipTest(f"takes {LONG:.0f} s: CHATFILES_SOAK=1 is not set")
        self.fake.park(1)
        time.sleep(LONG)
        self.assertGreater(self.fake.checks, 2)
        self.assertEqual(self.ask(self.target(self.fake.id), self.fake.token).status, 200)


class NginxTests(Balanced):
    """nginx."""

    kind = "nginx"


class HAProxyTests(Balanced):
    """HAProxy."""

    kind = "haproxy"


del Balanced
