"""
reference/limits-and-shutdown, "Other signals": SIGHUP and SIGUSR1 never end a role.  With a log
file they let log rotation work.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from tests.live.processes import Pair, Role, until
from tests.live.rawhttp import Connection, fetch
from tests.live.role import arguments, environment
from tests.support.patience import PATIENCE

SIZE = 32 << 20
BOTH = (signal.SIGHUP, signal.SIGUSR1)
#: What the process executes first: the signal arrives when the service exists, before the reactor
#: runs.
EARLY = """
import os
from twisted.application import app
start = app.startApplication
def start_later(*words):
    os.kill(os.getpid(), {signal})
    start(*words)
app.startApplication = start_later
"""
#: Makes standard input the controlling terminal, whose end sends SIGHUP.
IN_TERMINAL = """
import os
os.close(os.open(os.ttyname(0), os.O_RDWR))
from twisted.scripts.twistd import run
run()
"""


def read(path: str) -> str:
    """:return: the content of a file; empty if there is none yet."""
    if not os.path.exists(path):
        return ""
    with open(path) as file:
        return file.read()


class LogSignalTests(SynchronousTestCase):
    """Signals that operators and their tools send to a role that should continue."""

    def setUp(self) -> None:
        self.base = tempfile.mkdtemp(prefix="chatfiles-live-")
        self.addCleanup(shutil.rmtree, self.base)

    def at(self, name: str) -> str:
        """:return: a path below the test's directory."""
        return os.path.join(self.base, name)

    def options(self, name: str) -> list[str]:
        """:return: what a role needs to start."""
        if name == "platform":
            return [f"--state-dir={self.at('state')}"]
        return [f"--root=/workspace={self.base}", f"--configs-dir={self.base}"]

    def test_during_a_transfer(self) -> None:
        """
        Both roles finish a transfer during which the signals arrive, say so in the log, and serve
        the next request.
        """
        pair = Pair()
        self.addCleanup(pair.discard)
        with open(pair.at("workspace", "large.bin"), "wb") as file:
            file.truncate(SIZE)
        for _, role, target, fields in pair.hops("path=/workspace/large.bin"):
            connection = Connection(role.url, receive_buffer=65536)
            self.addCleanup(connection.close)
            connection.ask("GET", target, fields)
            answer = connection.answer()
            answer.exactly(100_000)
            for signum in BOTH:
                role.signal(signum)
                role.logged(f"chatfiles {role.name} continues after {signum.name}")
            self.assertEqual(100_000 + len(answer.rest()), SIZE)
            self.assertEqual(fetch(role.url, "/health").status, 200)
        for role in pair.roles:
            role.stop()

    def test_while_starting(self) -> None:
        """A signal that arrives before the reactor runs does not end the role."""
        for name in ("platform", "workspace"):
            for signum in BOTH:
                first = EARLY.format(signal=int(signum))
                role = Role(name, *self.options(name), first=first)
                self.addCleanup(role.kill)
                role.logged(f"chatfiles {name} continues after {signum.name}")
                self.assertEqual(fetch(role.url, "/health").status, 200)
                role.stop()

    def test_terminal_closes(self) -> None:
        """A role in a terminal continues when the terminal is closed, and ends after SIGTERM."""
        ours, theirs = os.openpty()
        words = arguments(
            "workspace", "--listen=tcp:0:interface=127.0.0.1", *self.options("workspace")
        )
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", IN_TERMINAL, *words[1:]],
            cwd=self.base,
            env=environment(),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        os.close(theirs)
        said = b""
        while (ready := re.search(rb"ready on (\S+)", said)) is None:
            said += os.read(ours, 65536)
        os.close(ours)
        for _ in range(3):
            self.assertEqual(fetch(ready[1].decode(), "/internal/file/read").status, 401)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(PATIENCE), 0)

    def test_moved_log(self) -> None:
        """
        A log rotation that renames the file and sends SIGHUP gets a new file; the old one has all
        lines until then, and no line is lost.
        """
        log, old = self.at("role.log"), self.at("role.log.old")
        role = Role("workspace", *self.options("workspace"), twistd=[f"--logfile={log}"])
        self.addCleanup(role.kill)
        until(lambda: "ready on" in read(log), "the role is ready")
        os.rename(log, old)
        role.signal(signal.SIGHUP)
        until(lambda: "reopened" in read(log), "the log is reopened")
        self.assertIn(f"reopened {log} after SIGHUP", read(log))
        self.assertIn("ready on", read(old))
        self.assertNotIn("ready on", read(log))
        role.stop()
        self.assertIn("Server Shut Down", read(log))
        self.assertNotIn("Server Shut Down", read(old))

    def test_log_in_a_lost_directory(self) -> None:
        """If the log file cannot be opened again, the role continues with the old one."""
        os.mkdir(self.at("logs"))
        log = self.at("logs/role.log")
        role = Role("workspace", *self.options("workspace"), twistd=[f"--logfile={log}"])
        self.addCleanup(role.kill)
        until(lambda: "ready on" in read(log), "the role is ready")
        os.rename(self.at("logs"), self.at("moved"))
        role.signal(signal.SIGHUP)
        moved = self.at("moved/role.log")
        until(lambda: f"cannot open {log}: No such file" in read(moved), "the role says so")
        role.stop()
        self.assertIn("Server Shut Down", read(moved))

    def test_rotation_by_twisted(self) -> None:
        """SIGUSR1 lets Twisted rotate the log file, as in every program of ``twistd``."""
        log = self.at("role.log")
        role = Role("workspace", *self.options("workspace"), twistd=[f"--logfile={log}"])
        self.addCleanup(role.kill)
        until(lambda: "ready on" in read(log), "the role is ready")
        role.signal(signal.SIGUSR1)
        until(lambda: "SIGUSR1" in read(log), "the log is rotated")
        self.assertIn("ready on", read(log + ".1"))
        role.stop()

    def test_daemon(self) -> None:
        """Without ``-n``, in the background, SIGHUP does the same."""
        log, pidfile = self.at("twistd.log"), self.at("role.pid")
        words = arguments(
            "workspace", "--listen=tcp:0:interface=127.0.0.1", *self.options("workspace")
        )
        words = [f"--pidfile={pidfile}" if word == "--pidfile=" else word for word in words]
        words.remove("-n")
        program = "from twisted.scripts.twistd import run; run()"
        subprocess.run(
            [sys.executable, "-P", "-c", program, *words[1:]],
            cwd=self.base,
            env=environment(),
            check=True,
            timeout=PATIENCE,
        )
        pid = int(read(pidfile))
        self.addCleanup(self.end, pid)
        until(lambda: "ready on" in read(log), "the role is ready")
        os.rename(log, self.at("moved"))
        os.kill(pid, signal.SIGHUP)
        until(lambda: f"reopened {log} after SIGHUP" in read(log), "the log is reopened")
        os.kill(pid, signal.SIGTERM)
        until(lambda: "Server Shut Down" in read(log), "it ends after SIGTERM")

    def end(self, pid: int) -> None:
        """Make sure that the process of the daemon has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
