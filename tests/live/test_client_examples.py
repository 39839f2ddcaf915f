"""
howto/python, pasted line by line, and the examples of the client library, against both roles.
"""

from __future__ import annotations

import doctest
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile

from tests.docs import ROOT, read
from tests.live.role import environment
from tests.live.test_writes import WritesCase
from tests.support.patience import PATIENCE

#: Runs the examples of a page, whose path is the argument.
_IN_A_LOOP = """
import asyncio, doctest, sys

async def main():
    return doctest.testfile(sys.argv[1], module_relative=False).failed

sys.exit(asyncio.run(main()))
"""


class ClientExampleTests(WritesCase):
    """An empty directory, and the settings in the environment."""

    def setUp(self) -> None:
        super().setUp()
        self.here = tempfile.mkdtemp(prefix="chatfiles-client-")
        self.addCleanup(shutil.rmtree, self.here)
        self.told = {
            "CHATFILES_PLATFORM": self.pair.platform.url,
            "CHATFILES_TOKEN": self.pair.token,
            "CHATFILES_WORKSPACE": self.pair.id,
        }

    def python(self, *words: str) -> str:
        """:return: what Python prints."""
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.here,
            env=environment(self.told),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout

    def test_page(self) -> None:
        """Each line of the page does what it says, in a running event loop, as in a notebook."""
        shutil.rmtree(self.pair.at("workspace", "client"), ignore_errors=True)
        shutil.rmtree(self.pair.at("workspace", "more"), ignore_errors=True)
        page = os.path.join(ROOT, "docs", "howto", "python.rst")
        self.assertEqual(self.python("-c", _IN_A_LOOP, page), "")
        self.assertGreater(len(doctest.DocTestParser().get_examples(read(page))), 15)
        self.assertEqual(os.listdir(self.here), ["table.csv"])

    def test_async_download(self) -> None:
        """``examples/async_download.py`` prints digests."""
        data = os.urandom(100_000)
        for name in ("a", "b"):
            self.pair.write(f"workspace/async/{name}", data)
        program = os.path.join(ROOT, "examples", "async_download.py")
        shown = self.python(program, self.here, "/workspace/async/a", "/workspace/async/b")
        digest = hashlib.sha256(data).hexdigest()
        self.assertEqual(
            shown, "".join(f"{digest}  {os.path.join(self.here, name)}\n" for name in ("a", "b"))
        )

    def test_mirror_folder(self) -> None:
        """``examples/mirror_folder.py`` copies what is new."""
        names = [f"d{n % 3}/f{n}" for n in range(20)]
        for name in names:
            self.pair.write(f"workspace/mirror/{name}", name.encode())
        os.utime(self.pair.at("workspace", "mirror", names[0]))  # its tag is weak for a second
        program = os.path.join(ROOT, "examples", "mirror_folder.py")
        for count in (20, 0):
            shown = self.python(program, "/workspace/mirror", "copy")
            self.assertEqual(shown, f"{count} files copied\n")
        for name in names:
            with open(os.path.join(self.here, "copy", name)) as file:
                self.assertEqual(file.read(), name)
