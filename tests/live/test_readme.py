"""
README.md, "Run it": its commands work as they are written, for a user with an empty home directory.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.docs import ROOT, read
from tests.live.processes import Role
from tests.live.rawhttp import fetch
from tests.live.role import environment
from tests.support.patience import PATIENCE
from tests.support.ports import free_port

_BLOCK = re.compile(r"(?m)(?:^    .*\n)+")
_SCRIPT = """\
#!/bin/sh
exec {python} -P -c 'from {module} import {function}; {function}()' "$@"
"""


def blocks() -> list[str]:
    """:return: the commands of the section, without those that install."""
    section = read("README.md").partition("## Run it\n")[2].partition("\n## ")[0]
    install, *rest = [block.strip("\n") for block in _BLOCK.findall(section)]
    assert "pip install ." in install
    return rest


class ReadmeTests(SynchronousTestCase):
    """Both roles and all commands on one machine, at ports that are free."""

    def setUp(self) -> None:
        if shutil.which("curl") is None:
            raise SkipTest("curl is not installed: apt install curl")
        self.home = os.path.realpath(tempfile.mkdtemp(prefix="chatfiles-live-"))
        self.addCleanup(shutil.rmtree, self.home)
        shutil.copy(os.path.join(ROOT, "README.md"), self.home)
        programs = (
            ("twistd", "twisted.scripts.twistd", "run"),
            ("chatfiles", "chatfiles.cli", "main"),
        )
        for name, module, function in programs:
            content = _SCRIPT.format(python=sys.executable, module=module, function=function)
            self.write(f"bin/{name}", content)
        ports = {"8080": free_port(), "8000": free_port()}
        self.places = {
            **{f"=tcp:{old}": f"=tcp:{new}:interface=127.0.0.1" for old, new in ports.items()},
            "10.0.0.1:8080": f"127.0.0.1:{ports['8080']}",
            "10.0.0.7:8000": f"127.0.0.1:{ports['8000']}",
            "10.0.0.0/8": "127.0.0.0/8",
        }
        self.told = {
            "HOME": self.home,
            "PATH": f"{self.home}/bin:{os.environ['PATH']}",
            "CHATFILES_PLATFORM": f"http://127.0.0.1:{ports['8080']}",
        }

    def here(self, commands: list[str]) -> list[str]:
        """:return: the commands with the addresses of this test."""
        text = "\0".join(commands)
        for place, here in self.places.items():
            self.assertIn(place, text)
            text = text.replace(place, here)
        return text.split("\0")

    def write(self, name: str, content: str) -> None:
        """Create a program below the home directory."""
        path = os.path.join(self.home, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o755), "w") as file:
            file.write(content)

    def execute(self, commands: str) -> str:
        """Run commands of a shell.  :return: what they print."""
        done = subprocess.run(
            ["sh", "-euc", commands],
            cwd=self.home,
            env=environment(self.told),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def start(self, name: str, command: str) -> Role:
        """:return: a role that a command starts."""
        launch = ["sh", "-euc", f"exec {command.lstrip()}"]
        role = Role(name, launch=launch, told=self.told, directory=self.home)
        self.addCleanup(role.kill)
        return role

    def read(self, name: str) -> str:
        """:return: the content of a file in the home directory."""
        with open(os.path.join(self.home, name), encoding="utf-8") as file:
            return file.read()

    def test_run_it(self) -> None:
        """
        A platform and a workspace start, the file arrives with ``chatfiles`` and with ``curl``, and
        files are sent with both.  A link and the page open.
        """
        platform, create, workspace, get, curl, folder, put, post, share = self.here(blocks())
        first = self.start("platform", platform)
        assert first.url, "it listens"
        created = self.execute(create)
        identity = re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", created)
        assert identity is not None, created
        self.told["ID"] = identity[0]

        setup, command = re.fullmatch(r"(?s)(.*?)\n( *twistd .*)", workspace).groups()  # type: ignore[union-attr]
        export, _, setup = setup.partition("\n")
        self.assertRegex(export, r"export ID=[0-9a-f-]{36} ")
        self.execute(setup)
        second = self.start("workspace", command)
        second.logged("platform_inbound_secret stored")
        for command in (get, curl):
            self.execute(command)
            self.assertEqual(self.read("copy.md"), read("README.md"))
            os.unlink(os.path.join(self.home, "copy.md"))
        self.assertEqual(self.execute(folder), "README.md\n")
        self.assertEqual(self.read("copy/README.md"), read("README.md"))
        shutil.copy(os.path.join(self.home, "README.md"), os.path.join(self.home, "copy.md"))
        self.assertEqual(self.execute(put).count("/workspace/.molecule/chat-uploads/"), 2)
        self.assertIn('"name":"copy.md"', self.execute(post))
        link = self.execute(share).strip()
        self.assertTrue(link.startswith(first.url), link)
        target = link.removeprefix(first.url)
        self.assertEqual(fetch(first.url, target).body.decode(), read("README.md"))
        self.assertEqual(fetch(first.url, "/ui/").status, 200)
        for role in (first, second):
            role.secrets |= {self.read("build-7.token").strip()}
            role.stop()
        for name in ("header.txt", "build-7.token", "workspace-configs/.auth_token"):
            self.assertEqual(os.stat(os.path.join(self.home, name)).st_mode & 0o077, 0, name)
