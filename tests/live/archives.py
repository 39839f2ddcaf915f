"""
Archives of running workspaces, for tests.
"""

from __future__ import annotations

import json
import os

from chatfiles.rules.archive_request import ArchiveFormat
from tests.live.processes import LiveCase, Role, quoted
from tests.live.rawhttp import Answer, Connection, Response, fetch
from tests.workspace.archive.source_case import FORMATS, Read, read

__all__ = ["ArchiveCase"]

TARGET = "/internal/fs/archive"


class ArchiveCase(LiveCase):
    """
    Tests with a workspace.

    :cvar through: whether requests go through the platform.
    """

    through = False

    @property
    def role(self) -> Role:
        """The role that receives the requests."""
        return self.pair.platform if self.through else self.pair.workspace

    @property
    def credential(self) -> dict[str, str]:
        """The header with what this role requires."""
        return self.pair.bearer if self.through else self.pair.inbound

    @property
    def route(self) -> str:
        """The route of this role."""
        return f"/workspaces/{self.pair.id}/fs/archive" if self.through else TARGET

    def target(self, path: str, archive_format: ArchiveFormat) -> str:
        """:return: the request target."""
        return f"{self.route}?path={quoted(path)}&format={archive_format}"

    def get(self, path: str, archive_format: ArchiveFormat = FORMATS[0]) -> Response:
        """:return: the whole response."""
        target = self.target(path, archive_format)
        return fetch(self.role.url, target, self.credential)

    def post(self, *paths: str, archive_format: ArchiveFormat = FORMATS[0]) -> Response:
        """:return: the whole response for several paths."""
        asked = {"paths": [{"path": path} for path in paths], "format": archive_format}
        return fetch(
            self.role.url,
            self.route,
            self.credential,
            method="POST",
            body=json.dumps(asked).encode(),
        )

    def content(self, path: str, archive_format: ArchiveFormat = FORMATS[0]) -> Read:
        """:return: what the archive of a path contains."""
        answer = self.get(path, archive_format)
        self.assertEqual(answer.status, 200, answer.body[:200])
        return read(answer.body, archive_format)

    def begin(
        self,
        path: str,
        archive_format: ArchiveFormat = FORMATS[0],
        *,
        receive_buffer: int = 128 * 1024,
        request_id: str = "begun",
    ) -> tuple[Connection, Answer]:
        """:return: a slow reader's connection, and the response, of which the headers are read."""
        connection = self.connect(self.role, receive_buffer=receive_buffer)
        fields = {**self.credential, "X-Request-Id": request_id}
        connection.ask("GET", self.target(path, archive_format), fields)
        return connection, connection.answer()

    def noise(self, name: str, size: int) -> bytes:
        """:return: the path on disk of a file that cannot be compressed."""
        return self.pair.write(f"workspace/{name}", os.urandom(size))
