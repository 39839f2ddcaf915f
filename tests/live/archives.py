"""
Archives of running workspaces, for tests.
"""

from __future__ import annotations

import json
import os

from chatfiles.rules.archive_request import ArchiveFormat
from tests.live.processes import LiveCase, quoted
from tests.live.rawhttp import Answer, Connection, Response, fetch
from tests.workspace.archive.source_case import FORMATS, Read, read

__all__ = ["ArchiveCase"]

TARGET = "/internal/fs/archive"


class ArchiveCase(LiveCase):
    """Tests with a workspace."""

    def target(self, path: str, archive_format: ArchiveFormat) -> str:
        """:return: the request target."""
        return f"{TARGET}?path={quoted(path)}&format={archive_format}"

    def get(self, path: str, archive_format: ArchiveFormat = FORMATS[0]) -> Response:
        """:return: the whole response."""
        target = self.target(path, archive_format)
        return fetch(self.pair.workspace.url, target, self.pair.inbound)

    def post(self, *paths: str, archive_format: ArchiveFormat = FORMATS[0]) -> Response:
        """:return: the whole response for several paths."""
        asked = {"paths": [{"path": path} for path in paths], "format": archive_format}
        return fetch(
            self.pair.workspace.url,
            TARGET,
            self.pair.inbound,
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
        connection = self.connect(self.pair.workspace, receive_buffer=receive_buffer)
        fields = {**self.pair.inbound, "X-Request-Id": request_id}
        connection.ask("GET", self.target(path, archive_format), fields)
        return connection, connection.answer()

    def noise(self, name: str, size: int) -> bytes:
        """:return: the path on disk of a file that cannot be compressed."""
        return self.pair.write(f"workspace/{name}", os.urandom(size))
