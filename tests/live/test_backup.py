"""
howto/operate, "Back up and restore SQLite" and "Upgrade and roll back one node": the commands of
the manual, word for word.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import tempfile

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.docs import read
from tests.live.processes import Role
from tests.live.rawhttp import fetch

_BLOCK = re.compile(r"::\n\n((?:    .*\n)+)")
#: An invalid version of the schema, as an upgrade to a later version would leave it.
LATER = 1000


def commands(heading: str) -> list[str]:
    """:return: the indented blocks of a section of the manual."""
    page = read("docs", "howto", "operate.rst")
    section = page.partition(f"\n{heading}\n---")[2]
    return _BLOCK.findall(re.split(r"\n.+\n-{4,}\n", section, maxsplit=1)[0])


class BackupTests(SynchronousTestCase):
    """The registry of a platform, in its state directory."""

    def setUp(self) -> None:
        if shutil.which("sqlite3") is None:
            raise SkipTest("sqlite3 is not installed: apt install sqlite3")
        self.base = tempfile.mkdtemp(prefix="chatfiles-live-")
        self.addCleanup(shutil.rmtree, self.base)
        self.state = os.path.join(self.base, "state")
        self.database = os.path.join(self.state, "registry.db")

    def start(self) -> Role:
        """:return: a platform with this state directory."""
        role = Role("platform", f"--state-dir={self.state}")
        self.addCleanup(role.kill)
        return role

    def execute(self, command: str) -> None:
        """Run a block of the manual in the state directory, with the umask of most shells."""
        subprocess.run(["sh", "-euc", command], cwd=self.state, umask=0o022, check=True)

    def ask(self, role: Role, body: bytes | None = None) -> list[str]:
        """Create a workspace if there is a *body*.  :return: the names of all workspaces."""
        url = role.url
        with open(os.path.join(self.state, "admin-token")) as file:
            admin = {"Authorization": f"Bearer {file.read().strip()}"}
        if body is not None:
            role.secrets.add(
                fetch(url, "/workspaces", admin, method="POST", body=body).json["auth_token"]
            )
        return [row["name"] for row in fetch(url, "/workspaces", admin).json["workspaces"]]

    def modes(self) -> dict[str, int]:
        """:return: the modes of all files in the state directory."""
        return {
            name: stat.S_IMODE(os.stat(os.path.join(self.state, name)).st_mode)
            for name in os.listdir(self.state)
        }

    def test_restore(self) -> None:
        """
        A copy that was made while the platform ran has all of its rows, only its owner can read it,
        and it replaces the registry of a platform that was killed later.
        """
        backup, restore = commands("Back up and restore SQLite")
        role = self.start()
        self.ask(role, b'{"name": "before"}')
        self.execute(backup)
        self.assertEqual(self.modes()["copy.db"], 0o600)
        self.assertEqual(self.ask(role, b'{"name": "after"}'), ["before", "after"])
        role.kill()  # leaves its write-ahead log
        self.assertGreater(os.path.getsize(self.database + "-wal"), 0)
        self.execute(restore)
        self.assertEqual(self.modes()["registry.db"], 0o600)
        again = self.start()
        self.assertEqual(self.ask(again), ["before"])
        again.stop()

    def test_roll_back(self) -> None:
        """
        An older version refuses the registry of a later one, says why, and accepts it after the
        command of the manual.
        """
        [roll_back] = commands("Upgrade and roll back one node")
        role = self.start()
        self.ask(role, b'{"name": "kept"}')
        role.stop()
        with contextlib.closing(sqlite3.connect(self.database)) as database, database:
            (known,) = database.execute("select max(version) from chatfiles_schema").fetchone()
            database.execute("insert into chatfiles_schema values (?, '')", (LATER,))
        refused = self.start()
        self.assertEqual(refused.wait(), 1)
        says = f"has schema version {LATER}, but this version of chatfiles knows only {known}"
        self.assertIn(says, refused.log)
        self.execute(re.sub(r"> \d+", f"> {known}", roll_back))
        again = self.start()
        self.assertEqual(self.ask(again), ["kept"])
        again.stop()
