"""
howto/operate, "systemd": sockets that systemd has opened, and what it learns about a role.
"""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from tests.live.rawhttp import Connection
from tests.live.role import arguments, environment
from tests.support.patience import PATIENCE

#: Passes on the socket whose number is the first argument, as systemd does.
ACTIVATED = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
program = "from twisted.scripts.twistd import run; run()"
os.execv(sys.executable, [sys.executable, "-P", "-c", program, *sys.argv[2:]])
"""


class SystemdTests(SynchronousTestCase):
    """A role as systemd runs it."""

    def setUp(self) -> None:
        self.base = tempfile.mkdtemp(prefix="chatfiles-live-")
        self.addCleanup(shutil.rmtree, self.base)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.bind(f"{self.base}/notify")
        self.manager.settimeout(PATIENCE)

    def start(self, *options: str, told: Mapping[str, str] = {}) -> subprocess.Popen[bytes]:
        """:return: a platform that listens at the socket."""
        words = arguments("platform", "--listen=systemd:domain=INET:index=0", *options)
        number = str(self.listener.fileno())
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", ACTIVATED, number, *words[1:]],
            cwd=self.base,
            env=environment({"NOTIFY_SOCKET": f"{self.base}/notify", **told}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[self.listener.fileno()],
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def message(self, pattern: str) -> str:
        """:return: the next message, without signs of life, which has to match."""
        while (text := self.manager.recv(1000).decode()) == "WATCHDOG=1":
            pass
        self.assertRegex(text, pattern)
        return text

    def test_restart(self) -> None:
        """
        A connection that is made while the role does not run waits, and is served by the next
        process.  systemd learns of each change, and gets signs of life.  The socket has a name
        or none.
        """
        for workers, names in (("--workers=1", "a"), ("--workers=2", "")):
            waiting = Connection(self.url)
            self.addCleanup(waiting.close)
            waiting.ask("GET", "/health", {})
            process = self.start(workers, told={"WATCHDOG_USEC": "200000", "LISTEN_FDNAMES": names})
            self.message(rf"\AREADY=1\nSTATUS=ready on {self.url}\Z")
            self.assertEqual(waiting.response().status, 200)
            while self.manager.recv(1000) != b"WATCHDOG=1":
                pass
            process.send_signal(signal.SIGHUP)
            reloading = self.message(r"\ARELOADING=1\nMONOTONIC_USEC=\d+\Z")
            self.assertTrue(re.search("[1-9]", reloading))
            self.message(r"\AREADY=1\nSTATUS=ready on ")
            process.send_signal(signal.SIGTERM)
            self.message(r"\ASTOPPING=1\n")
            self.assertEqual(process.wait(PATIENCE), 0)
            self.drain()

    def drain(self) -> None:
        """Receive the last signs of life."""
        self.manager.setblocking(False)
        try:
            while self.manager.recv(1000) == b"WATCHDOG=1":
                pass
        except BlockingIOError:
            self.manager.settimeout(PATIENCE)
        else:
            self.fail("a message after STOPPING")

    def test_cannot_start(self) -> None:
        """A role that cannot start is never ready."""
        process = self.start(f"--database=sqlite:{self.base}/none/registry.db")
        self.assertEqual(process.wait(PATIENCE), 1)
        self.message(r"\ASTOPPING=1\n")
        self.drain()
