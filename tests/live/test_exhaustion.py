"""A role without free descriptors: connected clients get 503 and ``retry_after_seconds``."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable

from tests.live.processes import LiveCase
from tests.live.rawhttp import Connection, Response
from tests.live.role import Role
from tests.live.upload_client import Way, file, form, ways


class DescriptorTests(LiveCase):
    """``EMFILE``: it is not reported as an error of the secret, of a file, or of the client."""

    def exhaust(self, role: Role) -> Callable[[], None]:
        """
        Leave *role* no free descriptor.

        :return: restores its limit.
        """
        limits = resource.prlimit(role.pid, resource.RLIMIT_NOFILE)
        most = 1 + max(int(fd) for fd in os.listdir(f"/proc/{role.pid}/fd"))
        free = set(range(most)) - {int(fd) for fd in os.listdir(f"/proc/{role.pid}/fd")}
        resource.prlimit(role.pid, resource.RLIMIT_NOFILE, (min(free, default=most), limits[1]))

        def relieve() -> None:
            resource.prlimit(role.pid, resource.RLIMIT_NOFILE, limits)

        self.addCleanup(relieve)
        return relieve

    def assert_later(self, answer: Response) -> None:
        """The response is a temporary server error."""
        self.assertEqual((answer.status, answer.json["code"]), (503, "unavailable"), answer.json)
        self.assertEqual(answer.json["retry_after_seconds"], 1)

    def test_download(self) -> None:
        """
        If the workspace has no descriptor for the secret or the file, the response is 503, neither
        401 nor 404; afterwards downloads work again.
        """
        self.pair.write("workspace/there.txt", b"there")
        for _, role, target, fields in self.pair.hops("path=/workspace/there.txt"):
            with Connection(role.url) as connection:
                self.assertEqual(connection.exchange("GET", target, fields).body, b"there")
                relieve = self.exhaust(self.pair.workspace)
                for _ in range(3):
                    self.assert_later(connection.exchange("GET", target, fields))
                relieve()
                self.assertEqual(connection.exchange("GET", target, fields).body, b"there")

    def test_upload(self) -> None:
        """
        If a role has no descriptor for a file or a connection, the response to an upload is 503;
        afterwards uploads work again.  (The platform needs none for a connection that the workspace
        has made.)
        """
        body = form(file(b"content"))
        platform, workspace = self.pair.roles
        for way in ways(self.pair):
            connects = way.name == "through" and self.pair.via == "url"
            role = platform if connects else workspace
            with way.connect() as connection:
                self.assertEqual(connection.exchange("GET", "/health").status, 200)
                relieve = self.exhaust(role)
                for _ in range(2):
                    self.assert_later(self.upload(connection, way, body))
                relieve()
                self.assertEqual(self.upload(connection, way, body).status, 200)

    def upload(self, connection: Connection, way: Way, body: bytes) -> Response:
        """:return: the response to *body*, sent over an existing connection."""
        way.begin(connection, len(body))
        connection.send(body)
        return connection.response("POST")
