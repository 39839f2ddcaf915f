"""
reference/channel on a running platform: a workspace that connects by itself, and is never dialled.
"""

from __future__ import annotations

import json
import threading

from tests.live.fake_workspace import UPGRADE, FakeWorkspace, Request, answer, upgrade
from tests.live.platform_case import INVALID_TOKEN, MISSING_TOKEN, PlatformCase
from tests.live.processes import until
from tests.live.rawhttp import Response, answers_in, fetch


class ChannelCase(PlatformCase):
    """A workspace of its own for each test."""

    def setUp(self) -> None:
        super().setUp()
        self.fake = self.make_fake()

    def make_fake(self) -> FakeWorkspace:
        """:return: a workspace that has not registered."""
        workspace_id, token = self.pair.add(None, delivery_mode="poll")
        files = {"/workspace/a.txt": b"over a channel\n"}
        fake = FakeWorkspace(self.pair.platform.url, workspace_id, token, files)
        self.addCleanup(fake.close)
        return fake

    def parked(self, count: int = 1) -> FakeWorkspace:
        """:return: the workspace, which has registered and parked so many connections."""
        self.fake.register()
        self.fake.park(count)
        self.pair.hide(self.fake.secret)
        return self.fake

    def get(self, fake: FakeWorkspace | None = None) -> Response:
        """:return: the response to a download."""
        fake = fake or self.fake
        return self.ask(self.target(fake.id), fake.token)

    def put(self, content: bytes = b"abc") -> Response:
        """:return: the response to an upload."""
        body = (
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
            + content
            + b"\r\n--b--\r\n"
        )
        return fetch(
            self.pair.platform.url,
            f"/workspaces/{self.fake.id}/chat/uploads",
            {
                "Authorization": f"Bearer {self.fake.token}",
                "Content-Type": "multipart/form-data; boundary=b",
            },
            method="POST",
            body=body,
        )

    def refused(self, head: bytes) -> tuple[int, str]:
        """:return: the status of a refused upgrade, and the value of its ``Upgrade``."""
        lines = head.decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:-2])
        return int(lines[0].split()[1]), fields.get("Upgrade", "")


class TransferTests(ChannelCase):
    """Requests to a workspace that has connected."""

    def test_download(self) -> None:
        """A download takes a parked connection, and the log says so."""
        fake, since = self.parked(), self.pair.platform.mark()
        response = self.get()
        self.assertEqual((response.status, response.body), (200, b"over a channel\n"))
        ((method, target, _), fields, _) = fake.requests[0]
        self.assertEqual((method, fields["host"]), ("GET", "workspace.invalid"))
        self.assertTrue(target.startswith("/internal/file/read?path="))
        self.assertEqual(fields["authorization"], f"Bearer {fake.secret}")
        self.pair.platform.logged(f"{fake.id} download 200 15 bytes", since=since)

    def test_reused(self) -> None:
        """One connection serves one download after another."""
        fake = self.parked()
        fake._replaces = False
        for _ in range(5):
            self.assertEqual(self.get().status, 200)
        self.assertEqual(len(fake.requests), 5)

    def test_upload(self) -> None:
        """An upload is the last request on its connection."""
        fake = self.parked(3)
        fake._replaces = False
        response = self.put(b"x" * 100_000)
        self.assertEqual(response.status, 200, response.body)
        ((method, _, _), fields, body) = fake.requests[0]
        self.assertEqual((method, fields["connection"]), ("POST", "close"))
        self.assertIn(b"x" * 100_000, body)
        until(lambda: len(fake.connections) == 2, "the connection is closed")

    def test_missing_file(self) -> None:
        """A 404 of the workspace is relayed."""
        self.parked()
        answer = self.ask(self.target(self.fake.id, "/workspace/none"), self.fake.token)
        self.assertEqual((answer.status, answer.error), (404, "file not found"))
