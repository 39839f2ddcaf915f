"""
A disk that hangs (a network's, or another program's) holds up those who want something from it, and
nobody else; nor the end of the process.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live.hanging import FILES, launch, unavailable
from tests.live.processes import Role
from tests.live.rawhttp import Connection, Response, fetch
from tests.live.role import command, until

#: More than there are threads.
MANY = 17
BEARER = {"Authorization": "Bearer abc"}


class HangingTests(SynchronousTestCase):
    """With a workspace that has a root on such a disk, and one that is near."""

    def setUp(self) -> None:
        if (reason := unavailable()) is not None:
            raise SkipTest(reason)
        self.base = os.path.realpath(tempfile.mkdtemp(prefix="chatfiles-live-"))
        self.addCleanup(shutil.rmtree, self.base, True)
        for name in ("far", "near", "configs"):
            os.mkdir(f"{self.base}/{name}")
        self.write("near/small", "near")
        self.write("configs/.platform_inbound_secret", "abc")

    def write(self, name: str, text: str) -> None:
        with open(os.open(f"{self.base}/{name}", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(text)

    def start(self) -> Role:
        role = command(
            "workspace",
            "--listen=tcp:0:interface=127.0.0.1",
            f"--root=/workspace={self.base}/far",
            f"--root=/home={self.base}/near",
            f"--configs-dir={self.base}/configs",
            "--drain-timeout=1",
        )
        started = Role("workspace", launch=launch(f"{self.base}/far", f"{self.base}/pid", role))
        self.addCleanup(started.kill)
        self.assertEqual(self.read(started, "/home/small").body, b"near")
        self.assertEqual(self.read(started, "/workspace/small").body, b"small")
        return started

    def read(self, role: Role, path: str) -> Response:
        return fetch(role.url, f"/internal/file/read?path={path}", BEARER)

    def begin(self, role: Role, path: str) -> Connection:
        connection = Connection(role.url, receive_buffer=65536)
        self.addCleanup(connection.close)
        connection.ask("GET", f"/internal/file/read?path={path}", BEARER)
        return connection

    def hang(self, signum: int = signal.SIGSTOP) -> None:
        with open(f"{self.base}/pid") as file:
            os.kill(int(file.read()), signum)

    def test_others_go_on(self) -> None:
        """
        While the disk hangs, at the start of one transfer and in the middle of another that is then
        given up, what lies elsewhere is served; afterwards everything is.
        """
        role = self.start()
        self.assertTrue(self.read(role, "/workspace/large").body == FILES[b"large"])
        going, leaving = (self.begin(role, "/workspace/large") for _ in range(2))
        answers = going.answer(), leaving.answer()
        begun = [answer.exactly(100_000) for answer in answers]
        self.hang()
        waiting = self.begin(role, "/workspace/small")
        leaving.close()
        until(lambda: "client_left" in role.log, "its leaving is noticed")
        for _ in range(3):
            self.assertEqual(fetch(role.url, "/health").status, 200)
            self.assertEqual(self.read(role, "/home/small").body, b"near")
        self.hang(signal.SIGCONT)
        self.assertEqual(waiting.response().body, b"small")
        self.assertTrue(begun[0] + answers[0].rest() == FILES[b"large"])
        role.stop()

    def test_end(self) -> None:
        """All threads wait for the disk: ``/ready`` says so, and SIGTERM ends the process."""
        role = self.start()
        self.assertEqual(fetch(role.url, "/ready").status, 200)
        self.hang()
        for _ in range(MANY):
            self.begin(role, "/workspace/small")
        answer = fetch(role.url, "/ready")
        self.assertEqual((answer.status, answer.json["code"]), (503, "unavailable"))
        self.assertEqual(fetch(role.url, "/health").status, 200)
        role.stop()

    def test_secret(self) -> None:
        """A secret behind a symlink to the disk, as secrets are mounted, holds up no probe."""
        role = self.start()
        os.rename(f"{self.base}/configs/.platform_inbound_secret", f"{self.base}/old")
        os.symlink(f"{self.base}/far/secret", f"{self.base}/configs/.platform_inbound_secret")
        self.assertEqual(self.read(role, "/home/small").body, b"near")
        self.hang()
        waiting = [self.begin(role, "/home/small") for _ in range(2)]
        for _ in range(3):
            self.assertEqual(fetch(role.url, "/health").status, 200)
        self.hang(signal.SIGCONT)
        for connection in waiting:
            self.assertEqual(connection.response().body, b"near")
        role.stop()
