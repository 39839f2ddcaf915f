"""
Cases for clients of resumable uploads, over a line that breaks, through a balancer and two
platforms on one PostgreSQL (reference/resumable).
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from twisted.trial.unittest import SkipTest

from tests.live.balancer import Balancer
from tests.live.breaking_line import BreakingLine
from tests.live.browser import Browser, missing_program
from tests.live.cluster import Cluster
from tests.live.processes import SOAK, LiveCase, Pair
from tests.live.role import ROOT, environment
from tests.live.tus_js import tus_js
from tests.live.tus_senders import with_aiotus, with_tuspy
from tests.support.fork_server import run
from tests.support.patience import PATIENCE
from tests.support.ports import free_port

__all__ = ["Cases"]

#: Bytes of the file, and how often its connection breaks.
SIZE, CUTS = (64 << 20, 10) if SOAK else (17 << 20, 4)

#: Bytes of the client after which a connection breaks.
CUT_AFTER = SIZE // CUTS * 3 // 4

_PAGE = '<!doctype html><input type="file"><script src="tus.min.js"></script>'
_UPLOAD = """
const job = %s;
const upload = new tus.Upload(document.querySelector("input").files[0], {
  endpoint: job.url, headers: job.headers, metadata: job.metadata,
  retryDelays: Array(40).fill(0),
  onError: (error) => { window.ended = String(error); },
  onSuccess: () => { window.ended = "stored"; },
});
upload.start();
"""


class TusCluster(Cluster):
    """
    Platforms that allow a page of another origin.

    :ivar page_port: where the page is.
    """

    def __init__(self) -> None:
        self.page_port = free_port()
        super().__init__([f"--allow-origin=http://127.0.0.1:{self.page_port}"])


@contextmanager
def serving(directory: str, port: int) -> Iterator[None]:
    """Serve the files of a directory."""
    handler = partial(_Quiet, directory=directory)
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing."""


class Cases(LiveCase):
    """
    The cases for each kind of balancer.

    :cvar kind: ``nginx`` or ``haproxy``.
    """

    kind = ""

    @classmethod
    def make_pair(cls) -> Pair:
        return TusCluster()

    def setUp(self) -> None:
        super().setUp()
        assert isinstance(self.pair, TusCluster)
        self.cluster = self.pair
        balancer = Balancer(self.kind, self.cluster.addresses())
        self.addCleanup(balancer.stop)
        self.line = BreakingLine(balancer.url, CUTS, CUT_AFTER)
        self.addCleanup(self.line.close)
        self.here = tempfile.mkdtemp(prefix="chatfiles-tus-")
        self.addCleanup(shutil.rmtree, self.here)
        self.content = random.Random(self.id()).randbytes(SIZE)
        self.name = f"{self.kind}-{self._testMethodName}.bin"
        self.path = os.path.join(self.here, self.name)
        with open(self.path, "wb") as file:
            file.write(self.content)

    def job(self, chunk: int = SIZE // CUTS) -> dict[str, Any]:
        """:return: what a client does; see `tests.live.tus_senders`."""
        sha256 = hashlib.sha256(self.content).hexdigest()
        return {
            "url": f"{self.line.url}/workspaces/{self.pair.id}/uploads",
            "headers": dict(self.pair.bearer),
            "metadata": {"filename": self.name, "sha256": sha256},
            "path": self.path,
            "chunk": chunk,
        }

    def check(self) -> None:
        """
        The line has broken as often as it should, the upload was continued, and the file is stored
        byte for byte.
        """
        self.assertEqual(self.line.cuts, 0)
        self.assertGreater(max(self.line.offsets), 0)
        directory = self.pair.at("workspace", ".molecule", "chat-uploads")
        (name,) = [each for each in os.listdir(directory) if each.endswith("-" + self.name)]
        with open(os.path.join(directory, name), "rb") as file:
            self.assertTrue(file.read() == self.content)

    def test_tuspy(self) -> None:
        """tuspy sends a checksum with each chunk."""
        with_tuspy(self.job())
        self.check()

    def test_aiotus(self) -> None:
        """aiotus sends chunks."""
        with_aiotus(self.job())
        self.check()

    def test_node(self) -> None:
        """tus-js-client in Node sends the rest of the file at once."""
        if shutil.which("node") is None:
            raise SkipTest("node is not installed")
        done = subprocess.run(
            ["node", os.path.join(ROOT, "tests", "live", "tus_sender.cjs"), tus_js()],
            input=json.dumps(self.job()).encode(),
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        self.check()

    def test_chromium(self) -> None:
        """tus-js-client in a page of another origin."""
        if why := missing_program():
            raise SkipTest(why)
        shutil.copy(os.path.join(tus_js(), "dist", "tus.min.js"), self.here)
        with open(os.path.join(self.here, "index.html"), "w") as file:
            file.write(_PAGE)
        with serving(self.here, self.cluster.page_port), Browser() as browser:
            browser.go(f"http://127.0.0.1:{self.cluster.page_port}/")
            browser.choose("input", [self.path])
            browser.run(_UPLOAD % json.dumps(self.job()))
            ended: Callable[[], str] = lambda: browser.run("return window.ended")  # noqa: E731
            self.assertEqual(browser.until(ended, "the upload ends"), "stored")
        self.check()

    def test_command(self) -> None:
        """``chatfiles put`` continues in a later run, and by itself."""
        told = {
            "CHATFILES_PLATFORM": self.line.url,
            "CHATFILES_TOKEN": self.pair.token,
            "XDG_STATE_HOME": self.here,
        }
        for option, status in (("--retries=0", 7), ("--continue", 0)):
            words = ["chatfiles", "put", self.path, self.pair.id, option]
            done = run(words, cwd=self.here, env=environment(told), timeout=PATIENCE)
            self.assertEqual(done.returncode, status, done.stderr.decode())
        self.check()
