"""Resumed downloads with curl, wget, aria2c and ``chatfiles get``, from both roles."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from typing import Any

from tests.docs.download_examples import resume_script
from tests.live import clients
from tests.live.clients import CURL_PARTIAL, SIZE
from tests.live.cutting import BadLine
from tests.live.role import ROOT, environment
from tests.support.fork_server import run
from tests.support.patience import PATIENCE


class DirectTests(clients.ClientCases):
    """Downloads from the workspace itself."""

    hop = "direct"


class ThroughTests(clients.ClientCases):
    """Downloads through the platform."""

    hop = "through"

    def chatfiles_get(self, url: str, *more: str) -> int:
        """:return: the exit status of ``chatfiles get``, which writes to ``out``."""
        env = environment({"CHATFILES_PLATFORM": url, "CHATFILES_TOKEN": self.pair.token})
        words = ["chatfiles", "get", "-f", "-o", "out", *more, self.pair.id]
        words.append("/workspace/client.bin")
        done = run(words, cwd=self.directory, env=env, timeout=PATIENCE)
        self.output = (done.stdout + done.stderr).decode()
        return done.returncode

    def manual(self) -> Callable[..., None]:
        """:return: the function that the manual shows."""
        with open(os.path.join(ROOT, "docs", "howto", "download.rst")) as file:
            text = file.read()
        start = text.index("    import os, urllib")
        code = textwrap.dedent(text[start : text.index("``http.client``")])
        names: dict[str, Any] = {}
        exec(code, names)
        download: Callable[..., None] = names["download"]
        return download

    def test_manual(self) -> None:
        """The manual's Python code resumes a download, and restarts it if the file changed."""
        path = os.path.join(self.directory, "out")
        token = self.pair.token
        with self.line(*self.offsets(2)[1:]) as line:
            self.manual()(line.url + self.route, token, path)
            self.assertTrue(self.saved() == self.content, self.about)
            self.assertGreater(line.connections, 1)
        cut = self.chance.randrange(2000, SIZE)
        with BadLine(self.role.port, [cut], on_cut=self.rewrite) as line:
            self.manual()(line.url + self.route, token, path)
            self.assertFalse(self.saved() == self.content)
            with open(self.pair.at("workspace", "client.bin"), "rb") as file:
                self.assertTrue(self.saved() == file.read(), (cut, self.about))
        with self.line(*[5000] * 20) as line:
            self.assertRaises(OSError, self.manual(), line.url + self.route, token, path, 3)

    def test_manual_curl(self) -> None:
        """The manual's script completes an interrupted download, and refuses a changed file."""
        script = f"ln -sf header header.txt\n{resume_script().replace('large.bin', 'out')}"

        def resume(url: str) -> int:
            return self.run_program("sh", "-c", f"URL='{url}{self.route}'\n{script}")

        cuts = [SIZE // 3, SIZE // 4, SIZE // 5]
        with self.line(*cuts) as line:
            self.assertEqual(self.curl(line.url, "--etag-save", "tag"), CURL_PARTIAL, self.about)
            self.assertEqual(resume(line.url), 0, (cuts, self.output, self.about))
            self.assertGreater(line.connections, 2, cuts)
            self.assertTrue(self.saved() == self.content, (cuts, self.about))
            self.assertEqual(resume(line.url), 0, (self.output, self.about))
        self.rewrite()
        self.assertEqual(resume(self.role.url), 1, self.output)
        self.assertTrue(self.saved() == self.content, "nothing was mixed in")

    def test_get_goes_on(self) -> None:
        """``chatfiles get`` resumes interrupted downloads without an option for it."""
        cuts = [*self.offsets(1)[1:], self.chance.randrange(2000, SIZE)]
        with self.line(*cuts) as line:
            self.assertEqual(self.chatfiles_get(line.url), 0, (cuts, self.output, self.about))
            self.assertTrue(self.saved() == self.content, (cuts, self.about))
            self.assertGreater(line.connections, 1)

    def test_get_again(self) -> None:
        """
        ``chatfiles get`` keeps what it has when it fails, and continues there when it is run again;
        if the file has changed in between, it fetches the new version.
        """
        for rewritten in (False, True):
            cut = self.chance.randrange(2000, SIZE)
            with self.line(cut) as line:
                status = self.chatfiles_get(line.url, "--retries", "0")
                self.assertEqual(status, 7, (cut, self.output, self.about))
                self.assertIn("are kept in out.part", self.output)
                if rewritten:
                    self.rewrite()
                self.assertEqual(self.chatfiles_get(line.url), 0, (cut, self.output, self.about))
            self.assertIn("continuing there", self.output)
            with open(self.pair.at("workspace", "client.bin"), "rb") as file:
                self.assertTrue(self.saved() == file.read(), (cut, self.about))
            self.assertNotIn("out.part", os.listdir(self.directory))

    def test_get_rewritten(self) -> None:
        """If the file changed when the download was interrupted, all of it is fetched again."""
        cut = self.chance.randrange(2000, SIZE)
        with BadLine(self.role.port, [cut], on_cut=self.rewrite) as line:
            self.assertEqual(self.chatfiles_get(line.url), 0, (cut, self.output, self.about))
            with open(self.pair.at("workspace", "client.bin"), "rb") as file:
                self.assertTrue(self.saved() == file.read(), (cut, self.about))
            self.assertFalse(self.saved() == self.content)
            self.assertEqual(line.connections, 2)
