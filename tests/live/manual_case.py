"""
Commands of the manual, as a user with an empty home directory enters them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from tests.live.processes import Role
from tests.live.role import environment
from tests.support.patience import PATIENCE

__all__ = ["ManualCase"]

_SCRIPT = """\
#!/bin/sh
exec {python} -P -c 'from {module} import {function}; {function}()' "$@"
"""


class ManualCase(SynchronousTestCase):
    """
    A home directory with the programs of chatfiles on the path.

    :ivar home: the directory in which commands run.
    :ivar told: additional environment variables.
    :ivar places: what a command contains → what it should contain on this machine.
    """

    places: Mapping[str, str]

    def setUp(self) -> None:
        self.home = os.path.realpath(tempfile.mkdtemp(prefix="chatfiles-live-"))
        self.addCleanup(shutil.rmtree, self.home)
        programs = (
            ("twistd", "twisted.scripts.twistd", "run"),
            ("chatfiles", "chatfiles.cli", "main"),
        )
        for name, module, function in programs:
            content = _SCRIPT.format(python=sys.executable, module=module, function=function)
            self.write(f"bin/{name}", content)
        self.told = {"HOME": self.home, "PATH": f"{self.home}/bin:{os.environ['PATH']}"}

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
