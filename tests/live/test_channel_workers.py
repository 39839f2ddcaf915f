"""
reference/channel, "Several nodes" with ``--workers``: the workers of a platform are nodes that
reach each other through Unix sockets.
"""

from __future__ import annotations

from tests.live import fake_workspace
from tests.live.fake_workspace import FakeWorkspace
from tests.live.processes import LiveCase, Pair, until
from tests.live.rawhttp import fetch


class WorkersCase(LiveCase):
    """Two workers on one file."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(platform=["--workers=2"])

    def test_every_worker(self) -> None:
        """Whichever worker a request meets, it reaches a workspace that is connected to one."""
        workspace_id, token = self.pair.add(None, delivery_mode="poll")
        files = {"/workspace/a.txt": b"over a worker\n"}
        fake = FakeWorkspace(self.pair.platform.url, workspace_id, token, files)
        self.addCleanup(fake.close)
        self.pair.hide(fake.register().json["platform_inbound_secret"])
        self.patch(fake_workspace, "PARKED", 0)  # it keeps one, at any of the workers
        fake.keeps = 1
        fake.park()
        target = f"/workspaces/{workspace_id}/chat/download?path=/workspace/a.txt"
        ways = set()

        def all_seen() -> bool:
            since = self.pair.platform.mark()
            response = fetch(self.pair.platform.url, target, {"Authorization": f"Bearer {token}"})
            if response.status == 422:
                return False  # this worker has not heard of the workspace yet
            self.assertEqual((response.status, response.body), (200, b"over a worker\n"))
            line = r"download 200 14 bytes .* via (\w+)$"
            ways.add(self.pair.platform.logged(line, since=since)[1])
            return ways == {"channel", "relay"}

        until(all_seen, "there was a request to each worker")

    def test_ready(self) -> None:
        """Workers are no nodes that cannot reach each other: ``/ready`` has no warning."""
        self.assertNotIn("warnings", fetch(self.pair.platform.url, "/ready").json)
