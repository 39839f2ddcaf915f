"""
``chatfiles demo`` as a new user runs it: start it, paste the commands that it prints, stop it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live.rawhttp import fetch
from tests.support.patience import PATIENCE

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


class DemoTests(SynchronousTestCase):
    """A demo that runs: one process per role, and commands for a shell."""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="demo test ")
        self.addCleanup(temporary.cleanup)
        self.temporary = os.path.realpath(temporary.name)
        self.here = os.path.join(self.temporary, "here")
        os.mkdir(self.here)

    def start(self, *words: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": ROOT,
            "TMPDIR": self.temporary,
            "CHATFILES_LISTEN": "tcp:1",  # must not affect the roles
            "CONFIGS_DIR": "/nowhere",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "chatfiles.cli", "demo", *words],
            cwd=self.here,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self.end, process)
        return process

    def end(self, process: subprocess.Popen[str]) -> None:
        if process.poll() is None:
            process.kill()
        process.communicate()

    def printed(self, process: subprocess.Popen[str]) -> str:
        """:return: all that *process* prints until it is ready."""
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Press Ctrl-C"):
                return "".join(lines)
        assert process.stderr is not None
        raise AssertionError(f"the demo ended: {process.stderr.read()}")

    def paste(self, line: str) -> bytes:
        """:return: what *line* prints in a shell in another directory."""
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=self.here,
            env=environment,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done.stdout

    def state(self) -> list[str]:
        return [name for name in os.listdir(self.temporary) if name != "here"]

    def served(self, path: str) -> bytes:
        with open(os.path.join(self.temporary, *self.state(), "workspace", path), "rb") as file:
            return file.read()

    def test_as_printed(self) -> None:
        """All commands work from another directory; Ctrl-C stops everything with status 0."""
        process = self.start()
        text = self.printed(process)
        roles = _children(process.pid)
        self.assertEqual(len(roles), 2)
        state = os.path.join(self.temporary, *self.state())
        self.assertEqual(os.stat(state).st_mode & 0o777, 0o700)
        with open(os.path.join(state, "token")) as file:
            token = file.read().strip()
        # Only in the address of the page, and in no command.
        page = re.findall(rf"(http://\S+)/ui/#token={token}", text)
        self.assertEqual((len(page), text.count(token)), (1, 1))
        self.assertLess(text.index(page[0]), text.index("platform "))
        self.assertEqual(fetch(page[0], "/ui/").status, 200)

        [curl] = re.findall(r"^  (curl .*)$", text, re.MULTILINE)
        if shutil.which("curl"):
            self.assertEqual(self.paste(curl), self.served("hello.txt"))
        [get] = re.findall(r"^  (.* get (?!.* -r ).*)$", text, re.MULTILINE)
        self.paste(get)
        with open(os.path.join(self.here, "readings.csv"), "rb") as file:
            self.assertEqual(file.read(), self.served("readings.csv"))
        [listing] = re.findall(r"^  (.* ls .*)$", text, re.MULTILINE)
        names = b"README.md hello.txt random.bin readings.csv readings.png report.pdf".split()
        self.assertEqual(self.paste(listing).split(), names)
        [link] = re.findall(r"^  (.* link .*)$", text, re.MULTILINE)
        url = self.paste(link).decode().strip()
        opened = fetch(page[0], url.removeprefix(page[0]))
        self.assertEqual(opened.body, self.served("hello.txt"))
        [everything] = re.findall(r"^  (.* get .* -r .*)$", text, re.MULTILINE)
        self.paste(everything)
        everything = os.path.join(self.here, "demo-files")
        self.assertEqual(sorted(os.listdir(everything.encode())), names)
        shutil.rmtree(everything)
        random = re.sub("/workspace/[^/]*$", "/workspace/random.bin", get)
        self.assertEqual(self.paste(f"{random} -o -"), self.served("random.bin"))
        [put] = re.findall(r"^  (.* put .*)$", text, re.MULTILINE)
        path = self.paste(put).decode().rstrip("\n")
        self.assertRegex(path, r"\A/workspace/\.molecule/chat-uploads/[0-9a-f]{32}-note\.txt\Z")
        self.assertEqual(self.served(path.removeprefix("/workspace/")), b"Hello from this side.\n")
        back = re.sub("/workspace/[^/]*$", path, get)
        self.assertEqual(self.paste(f"{back} -o -"), b"Hello from this side.\n")

        [python] = re.findall(r"^  (.* -c .*)$", text, re.MULTILINE)
        self.assertIn(b"'hello.txt', 'random.bin'", self.paste(python))

        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, rest), (0, ""), errors)
        self.assertEqual(errors, "starting a platform and a workspace ...\n\nStopped.\n")
        self.assertEqual([pid for pid in roles if _alive(pid)], [])
        self.assertEqual(self.state(), [])
        self.assertEqual(os.listdir(self.here), ["readings.csv"])
        if not shutil.which("curl"):
            raise SkipTest("all but the curl line has been tried: curl is not installed")

    def test_nat(self) -> None:
        """With ``--nat`` the workspace has no listener, and files are fetched all the same."""
        process = self.start("--nat")
        text = self.printed(process)
        self.assertIn("workspace  listens on nothing, and has connected", text)
        [get] = re.findall(r"^  (.* get (?!.* -r ).*)$", text, re.MULTILINE)
        self.paste(get)
        with open(os.path.join(self.here, "readings.csv"), "rb") as file:
            self.assertEqual(file.read(), self.served("readings.csv"))
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(PATIENCE), 0)

    def test_own_directory(self) -> None:
        """``--directory`` serves the directory and does not change it; SIGTERM exits with 0."""
        files = os.path.join(self.here, "my files")
        os.mkdir(files)
        with open(os.path.join(files, "it's.txt"), "w") as file:
            file.write("mine")
        process = self.start("--directory", files, "-v")
        text = self.printed(process)
        [get] = re.findall(r"^  (.* get (?!.* -r ).*)$", text, re.MULTILINE)
        self.assertEqual(self.paste(f"{get} -o -"), b"mine")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 0, errors)
        self.assertRegex(errors, r"(?m)^workspace \| .*chatfiles workspace ready on http://")
        self.assertEqual(os.listdir(files), ["it's.txt"])
        self.assertEqual(self.state(), [])

    def test_role_that_dies(self) -> None:
        """If a role dies, the demo reports which, stops the other one, cleans up and fails."""
        process = self.start()
        self.printed(process)
        first, second = _children(process.pid)
        os.kill(second, signal.SIGKILL)
        _, errors = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 1, errors)
        self.assertIn("chatfiles: the workspace has ended by itself, with status -9", errors)
        self.assertFalse(_alive(first))
        self.assertEqual(self.state(), [])

    def test_killed(self) -> None:
        """If the demo is killed, its roles end as well, and the next demo removes its files."""
        process = self.start()
        self.printed(process)
        roles = _children(process.pid)
        process.kill()
        self.assertTrue(_until(lambda: not any(_alive(pid) for pid in roles)), "roles left behind")
        process.communicate()
        killed = self.state()
        self.assertEqual(len(killed), 1)
        second = self.start()
        self.printed(second)
        self.assertNotIn(killed[0], self.state())
        self.assertEqual(len(self.state()), 1)
        second.send_signal(signal.SIGINT)
        _, errors = second.communicate(timeout=PATIENCE)
        self.assertIn("removed the files of a demo that was killed", errors)
        self.assertEqual(self.state(), [])
