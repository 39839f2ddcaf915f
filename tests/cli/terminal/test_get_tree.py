"""
``chatfiles get -r`` as a process on a terminal: progress, and signals.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time

from tests.cli.cli_stub import WORKSPACE, counted
from tests.cli.terminal.test_terminal import TerminalCase
from tests.cli.tree_server import TreeServer, Wire, etag
from tests.support.patience import PATIENCE


class TreeTests(TerminalCase):
    """A workspace with two files."""

    # The threads may need longer on a busy machine to keep what has arrived.
    first = f"from chatfiles.cli.transfers.tree import transfer; transfer.ENDING = {PATIENCE}"

    def setUp(self) -> None:
        super().setUp()
        self.there = tempfile.mkdtemp(prefix="chatfiles-there-")
        self.addCleanup(shutil.rmtree, self.there)
        for name in ("a", "b"):
            with open(os.path.join(self.there, name), "w") as file:
                file.write(name * 2048)
            os.utime(file.name, (1_600_000_000, 1_600_000_000))
        self.tree = TreeServer(self.there)
        self.tree.start()
        self.addCleanup(self.tree.stop)

    def environment(self) -> dict[str, str]:
        """:return: an environment that names this platform."""
        return {**super().environment(), "CHATFILES_PLATFORM": self.tree.url}

    def fetch(self, *words: str, signum: int | None = None) -> tuple[int, str]:
        words = ("get", "--token-file", "token", "-r", WORKSPACE, "/workspace", "-o", "out", *words)
        return self.run_on_terminal(*words, signum=signum)

    def wait_until_written(self) -> None:
        """Wait until 2000 bytes of a file are in its temporary file."""
        out, deadline = self.path("out"), time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            names = [name for name in os.listdir(out) if name.startswith(".b.")]
            if any(os.path.getsize(os.path.join(out, name)) == 2000 for name in names):
                return
            time.sleep(0.005)

    def test_bar(self) -> None:
        """One bar shows the bytes of all files, and one line at the end reports them."""
        status, written = self.fetch()
        self.assertEqual(status, 0, written)
        self.assertIn("/4.10k", written)
        self.assertIn(", 0/2 files]", written)
        last = written.splitlines()[-1]
        self.assertRegex(last, r"saved out \(2 files, 4\.10kB in \d+\.\d s\)$")
        status, written = self.fetch()
        last = written.splitlines()[-1]
        self.assertEqual(last, "nothing to fetch: out is complete (2 files, 4.10kB)")
        os.unlink(self.path("out/a"))
        status, written = self.fetch()
        self.assertRegex(written.splitlines()[-1], r" s; 1 file was there already\)$")
        self.assertEqual(self.fetch("-q"), (0, ""))

    def test_signals(self) -> None:
        """
        A signal ends the command at once, with its own status; what has arrived is kept, and the
        same command continues there.
        """

        def stall(operation: str, path: bytes) -> Wire | None:
            if operation != "download" or not path.endswith(b"b"):
                return None
            header = f"ETag: {etag(os.path.join(self.there, 'b').encode())}"
            wire = counted(b"b" * 2048, header, short=48)
            return wire, self.wait_until_written, self.begun.set, self.go_on.wait

        self.tree.interfering.append(stall)
        for signum, expected in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            self.begun.clear()
            self.go_on.clear()
            status, written = self.fetch("-j", "1", signum=signum)
            self.go_on.set()
            self.assertEqual(status, expected, written)
            self.assertIn("1 of 2 files are complete in out; the same command continues", written)
            self.assertIn("chatfiles: interrupted", written)
            self.assertNotIn("trying again", written)
            self.assertNotIn("Traceback", written)
            self.assertEqual(sorted(os.listdir(self.path("out"))), ["a", "b.part"])
        self.tree.interfering.clear()
        self.tree.asked.clear()
        self.assertEqual(self.fetch("-q"), (0, ""))
        self.assertEqual(self.read("out/b"), b"b" * 2048)
        [asked] = [each for each in self.tree.asked if each[0] == "download"]
        self.assertEqual(asked[2]["Range"], "bytes=2000-")
