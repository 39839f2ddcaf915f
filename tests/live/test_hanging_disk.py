"""
A disk that hangs (a network file system, or FUSE) delays only the requests that read from it: other
requests are served, and the process can be stopped.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live.hanging import FILES, mounting, unavailable
from tests.live.processes import Role
from tests.live.rawhttp import Connection, Response, fetch
from tests.live.role import until

#: More than the threads of a root.
MANY = 17
BEARER = {"Authorization": "Bearer abc"}


class HangingTests(SynchronousTestCase):
    """A workspace with one root on a disk that hangs, and one on a local disk."""

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

    def launch(self, far: str = "/workspace", near: str = "/home", *, hangs: bool = False) -> Role:
        """:param hangs: whether the disk hangs from the beginning."""
        started = Role(
            "workspace",
            f"--root={far}={self.base}/far",
            f"--root={near}={self.base}/near",
            f"--configs-dir={self.base}/configs",
            "--drain-timeout=1",
            first=mounting(f"{self.base}/far", f"{self.base}/pid", hangs=hangs),
        )
        self.addCleanup(started.kill)
        return started

    def start(self) -> Role:
        started = self.launch()
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

    def test_listing(self) -> None:
        """
        The root on that disk is not available, and the other one is, and can be listed; when the
        disk responds again, so is the first.
        """
        role = self.start()
        for hangs in (False, True, False):
            self.hang(signal.SIGSTOP if hangs else signal.SIGCONT)
            roots = fetch(role.url, "/internal/fs/roots", BEARER).json["roots"]
            self.assertEqual(
                {each["path"]: each["available"] for each in roots},
                {"/workspace": not hangs, "/home": True},
            )
            target = "/internal/fs/entries?path=/home"
            (found,) = fetch(role.url, target, BEARER).json["entries"]
            self.assertEqual(found["name"], "small")

    def test_others_go_on(self) -> None:
        """
        The disk hangs at the start of one transfer and in the middle of two, one of which the
        client aborts.  Meanwhile other roots are served; afterwards the transfers continue.
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
        """
        While all threads of a root wait for the disk, other roots are served, also after the
        clients have disconnected, and SIGTERM ends the process.
        """
        role = self.start()
        self.assertEqual(fetch(role.url, "/ready").status, 200)
        self.hang()
        waiting = [self.begin(role, "/workspace/small") for _ in range(MANY)]
        for _ in range(2):
            self.write("near/new", "new")
            self.assertEqual(self.read(role, "/home/new").body, b"new")
            self.assertEqual(fetch(role.url, "/ready").status, 200)
            for connection in waiting:
                connection.close()
        self.assertEqual(fetch(role.url, "/health").status, 200)
        role.stop()

    def test_uploads(self) -> None:
        """Uploads do not share threads with a root whose disk hangs."""
        role = self.launch(far="/home", near="/workspace")
        self.assertEqual(self.read(role, "/home/small").body, b"small")
        self.hang()
        for _ in range(MANY):
            self.begin(role, "/home/small")
        body = (
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
            b"x\r\n--b--\r\n"
        )
        headers = {**BEARER, "Content-Type": "multipart/form-data; boundary=b"}
        stored = fetch(role.url, "/internal/chat/uploads/ingest", headers, method="POST", body=body)
        self.assertEqual(stored.status, 200)
        role.stop()

    def test_start(self) -> None:
        """A role starts and serves other roots while the disk hangs."""
        role = self.launch(hangs=True)
        self.assertEqual(self.read(role, "/home/small").body, b"near")
        self.assertEqual(fetch(role.url, "/ready").status, 200)
        waiting = self.begin(role, "/workspace/small")
        self.hang(signal.SIGCONT)
        self.assertEqual(waiting.response().body, b"small")
        role.stop()

    def test_secret(self) -> None:
        """
        If the secret is a symlink to the disk that hangs (mounted secrets are symlinks), health
        probes still get a response.
        """
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
