"""
A platform whose workspaces are scripts, and the requests of its tests.
"""

from __future__ import annotations

from collections.abc import Mapping

from chatfiles.testing.broken_upstreams import Script, ScriptedServer
from tests.live.processes import LiveCase, quoted
from tests.live.rawhttp import Answer, Connection, Response, fetch

__all__ = ["UpstreamCase"]


class UpstreamCase(LiveCase):
    """A platform, and workspaces that are scripts."""

    def setUp(self) -> None:
        super().setUp()
        self.credentials: dict[str, dict[str, str]] = {}

    def scripted(self, script: Script) -> tuple[ScriptedServer, str]:
        """
        :return: a workspace, and the target that downloads from it.  The platform has the workspace
            and its token in memory, so that the fast path serves the first request.
        """
        server = ScriptedServer(script)
        self.addCleanup(server.close)
        workspace_id, token = self.pair.add(server.url)
        target = self.target(workspace_id)
        self.credentials[target] = {"Authorization": f"Bearer {token}"}
        fetch(self.pair.platform.url, "/whoami", self.credentials[target])
        return server, target

    def credential(self, target: str) -> dict[str, str]:
        """:return: the token of a scripted workspace; the admin's for everything else."""
        return self.credentials.get(target, {"Authorization": f"Bearer {self.pair.admin}"})

    def target(self, workspace_id: str, path: str = "/workspace/x.bin") -> str:
        """:return: the download of a file."""
        return f"/workspaces/{workspace_id}/chat/download?path={quoted(path)}"

    def ask(self, target: str, fields: Mapping[str, str] = {}, method: str = "GET") -> Response:
        """:return: the platform's response."""
        all_fields = {**self.credential(target), **fields}
        return fetch(self.pair.platform.url, target, all_fields, method=method)

    def begin(
        self, target: str, request_id: str = "begun", more: Mapping[str, str] = {}
    ) -> tuple[Connection, Answer]:
        """:return: the connection, and the platform's response, once its headers are received."""
        connection = self.connect(self.pair.platform)
        fields = {**self.credential(target), "X-Request-Id": request_id}
        connection.ask("GET", target, {**fields, **more})
        return connection, connection.answer()
