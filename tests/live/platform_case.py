"""
The requests of the tests of a platform, and changes to its registry.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator

from tests.live.processes import LiveCase, Pair
from tests.live.rawhttp import Response, fetch

__all__ = [
    "INVALID_TOKEN",
    "MISSING_TOKEN",
    "NOBODY",
    "NOT_ALLOWED",
    "NOT_FOUND",
    "UNAVAILABLE",
    "PlatformCase",
]

MISSING_TOKEN = "missing workspace auth token"
INVALID_TOKEN = "invalid workspace auth token"
NOT_FOUND = "workspace not found"
NOT_ALLOWED = "workspace URL not allowed"
UNAVAILABLE = "platform datastore unavailable — retry shortly"
NOBODY = "00000000-0000-4000-8000-000000000000"


class PlatformCase(LiveCase):
    """A platform with one workspace, and rows of further ones."""

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        pair.write("workspace/a.txt", b"hello a\n")

    def target(self, workspace_id: str, path: str = "/workspace/a.txt") -> str:
        """:return: the download of a file."""
        return f"/workspaces/{workspace_id}/chat/download?path={path}"

    def ask(self, target: str, token: str | None = None, method: str = "GET") -> Response:
        """:return: the response to the holder of *token*, by default the admin."""
        fields = {"Authorization": f"Bearer {self.pair.admin if token is None else token}"}
        return fetch(self.pair.platform.url, target, fields, method=method)

    def download(self, workspace_id: str, token: str | None = None) -> Response:
        """:return: the response to the download of ``a.txt``."""
        return self.ask(self.target(workspace_id), token)

    def upload(self, workspace_id: str) -> Response:
        """:return: the response to the upload of a small file."""
        body = (
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n'
            b"Content-Type: text/plain\r\n\r\nhello\r\n--b--\r\n"
        )
        fields = {
            "Authorization": f"Bearer {self.pair.admin}",
            "Content-Type": "multipart/form-data; boundary=b",
        }
        target = f"/workspaces/{workspace_id}/chat/uploads"
        return fetch(self.pair.platform.url, target, fields, method="POST", body=body)

    def post(self, target: str, body: object, token: str | None = None) -> Response:
        """:return: the response to a JSON body."""
        fields = {"Authorization": f"Bearer {self.pair.admin if token is None else token}"}
        return fetch(
            self.pair.platform.url, target, fields, method="POST", body=json.dumps(body).encode()
        )

    @contextlib.contextmanager
    def registry(self) -> Iterator[sqlite3.Connection]:
        """A connection to the registry, committed at the end."""
        with contextlib.closing(sqlite3.connect(self.pair.database)) as database, database:
            yield database

    def change(self, workspace_id: str, **columns: object) -> None:
        """Update the row of a workspace."""
        for column, value in columns.items():
            with self.registry() as database:
                database.execute(
                    f"update workspaces set {column} = ? where id = ?", (value, workspace_id)
                )

    def secret_of(self, workspace_id: str) -> str | None:
        """:return: the inbound secret in the row of a workspace."""
        with self.registry() as database:
            statement = "select platform_inbound_secret from workspaces where id = ?"
            [(secret,)] = database.execute(statement, (workspace_id,))
            return None if secret is None else str(secret)
