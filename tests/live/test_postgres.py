"""
Two platform processes on one PostgreSQL: a change made through one is known to the other
(reference/registry, "Caching").
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from tests.live.processes import Role, until
from tests.live.rawhttp import Response, fetch
from tests.support.postgres_server import Database, server

ADMIN = "an-admin-token-for-both-nodes"


class SharedRegistryTests(SynchronousTestCase):
    """No node caches what hides a change from the other nodes."""

    def setUp(self) -> None:
        self.database = Database(server())
        self.base = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.base)
        # The URL holds a password, so it is passed in the environment.
        told = {"CHATFILES_DATABASE": self.database.url, "CHATFILES_ADMIN_TOKEN": ADMIN}
        options = [f"--state-dir={self.base}/{{}}", "--upstream-allow=127.0.0.0/8"]
        self.nodes = [
            Role("platform", *(option.format(number) for option in options), told=told)
            for number in range(2)
        ]
        os.mkdir(f"{self.base}/workspace")
        os.mkdir(f"{self.base}/configs")
        self.workspace = Role(
            "workspace",
            f"--root=/workspace={self.base}/workspace",
            f"--configs-dir={self.base}/configs",
        )
        for role in (*self.nodes, self.workspace):
            self.addCleanup(role.stop)

    def ask(self, node: int, route: str, token: str = ADMIN, **more: object) -> Response:
        return fetch(self.nodes[node].url, route, {"Authorization": f"Bearer {token}"}, **more)  # type: ignore[arg-type]

    def test_told_to_one_known_to_all(self) -> None:
        """
        A workspace made at one node can be read through the other; a token revoked at one is
        refused by both.
        """
        body = json.dumps({"url": self.workspace.url}).encode()
        made = self.ask(0, "/workspaces", method="POST", body=body).json
        registered = self.ask(
            1,
            "/registry/register",
            made["auth_token"],
            method="POST",
            body=json.dumps({"id": made["id"], "url": self.workspace.url}).encode(),
        ).json
        path = f"{self.base}/configs/.platform_inbound_secret"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(registered["platform_inbound_secret"])
        with open(f"{self.base}/workspace/a.txt", "w") as file:
            file.write("shared")
        route = f"/workspaces/{made['id']}/chat/download?path=/workspace/a.txt"
        for node in (0, 1):
            self.assertEqual(self.ask(node, route, made["auth_token"]).body, b"shared")
        (token,) = self.ask(1, f"/workspaces/{made['id']}/tokens").json["tokens"]
        gone = self.ask(0, f"/workspaces/{made['id']}/tokens/{token['id']}", method="DELETE")
        self.assertEqual(gone.status, 204)
        self.assertEqual(self.ask(0, route, made["auth_token"]).status, 401)
        # The other node has the token in its cache; it is notified.
        until(lambda: self.ask(1, route, made["auth_token"]).status == 401, "revoked there, too")

    def test_away(self) -> None:
        """An unavailable database is 503, never 404; the nodes recover without a restart."""
        self.database.allow(False)
        self.addCleanup(self.database.allow, True)
        unknown = "/workspaces/5f0f1f0c-9b4e-4a43-9d0e-3a8f5f4b7f10"
        for node in (0, 1):
            answer = self.ask(node, unknown)
            self.assertEqual((answer.status, answer.json["code"]), (503, "platform_unavailable"))
            self.assertEqual(self.ask(node, "/ready").status, 503)
            self.assertEqual(self.ask(node, "/health").status, 200)
        self.database.allow(True)
        until(lambda: self.ask(0, unknown).status == 404, "recovery without a restart")
