"""
``chatfiles keys``: the keys of links in a database.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import tempfile
from contextlib import closing
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.link_examples import example
from tests.support import fork_server
from tests.support.patience import PATIENCE
from tests.support.postgres_server import Database, server


class Cases(SynchronousTestCase):
    """For each kind of database."""

    def database(self) -> str:
        """:return: the URL of an empty database."""
        raise NotImplementedError

    def count(self) -> int:
        """:return: how many keys are stored."""
        raise NotImplementedError

    def verifying(self) -> list[str]:
        """:return: the ids of the keys that the manual's query for other programs finds."""
        raise NotImplementedError

    def setUp(self) -> None:
        self.url = self.database()
        self.registry("migrate")

    def registry(self, *words: str) -> None:
        self.assertEqual(self.run_command("registry", *words).returncode, 0)

    def run_command(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["chatfiles", *words]
        env = {**os.environ, "CHATFILES_DATABASE": self.url}
        done = fork_server.run(command, cwd="/", env=env, timeout=PATIENCE)
        out, err = done.stdout.decode(), done.stderr.decode()
        return subprocess.CompletedProcess(command, done.returncode, out, err)

    def keys(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = self.run_command("keys", *words)
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    def listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.keys("list", "--json").stdout)
        return found

    def test_all(self) -> None:
        """Keys are listed without the keys themselves, rotated, and revoked."""
        done = self.keys("list")
        self.assertEqual((done.stdout, done.stderr), ("", "no keys; the first link makes one\n"))
        self.assertEqual(self.listed(), [])
        for _ in range(2):
            self.keys("rotate")
        first, second = self.listed()
        self.assertEqual((first["state"], second["state"]), ("verifies", "signs"))
        self.assertEqual(
            list(first), ["id", "created_at", "signs_until", "verifies_until", "state"]
        )
        done = self.keys("list")
        header, *lines = done.stdout.splitlines()
        self.assertEqual(header.split()[0], "ID")
        self.assertEqual([line.split()[0] for line in lines], [first["id"], second["id"]])
        done = self.keys("revoke", second["id"])
        self.assertEqual((done.stdout, done.stderr), ("", f"revoked {second['id']}\n"))
        self.keys("revoke", second["id"])
        self.keys("revoke", second["id"].upper())
        [before, after] = self.listed()
        self.assertEqual((before["state"], after["state"]), ("verifies", "revoked"))
        self.assertEqual((after["signs_until"], after["verifies_until"]), (None, None))
        self.assertEqual(self.count(), 2)
        self.assertEqual(self.verifying(), [first["id"]])

    def test_unknown(self) -> None:
        """A key that does not exist cannot be revoked: status 3."""
        done = self.keys("revoke", "00000000", status=3)
        self.assertIn("there is no key '00000000'", done.stderr)


class SQLiteKeysTests(Cases):
    """SQLite."""

    def database(self) -> str:
        directory = tempfile.mkdtemp(prefix="chatfiles-test-")
        self.addCleanup(lambda: subprocess.run(["rm", "-rf", directory], check=True))
        self.path = os.path.join(directory, "registry.db")
        return f"sqlite:{self.path}"

    def count(self) -> int:
        with closing(sqlite3.connect(self.path)) as connection:
            ((number,),) = connection.execute("SELECT count(*) FROM chatfiles_keys").fetchall()
        return int(number)

    def verifying(self) -> list[str]:
        with closing(sqlite3.connect(self.path)) as connection:
            return [key for key, _ in connection.execute(example("SQLite"))]

    def test_no_database(self) -> None:
        """A database that does not exist is not created."""
        os.remove(self.path)
        done = self.keys("rotate", status=8)
        self.assertIn("there is no such file", done.stderr)
        self.assertIn("--database", done.stderr)
        self.assertFalse(os.path.exists(self.path))

    def test_old_schema(self) -> None:
        """A database without the table is reported."""
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("DROP TABLE chatfiles_keys")
        self.assertIn("no such table", self.keys("list", status=6).stderr)

    def test_wrong_url(self) -> None:
        """A URL of another kind is refused."""
        self.url = "mysql://x"
        self.assertIn("--database takes", self.keys("list", status=2).stderr)


class PostgresKeysTests(Cases):
    """PostgreSQL."""

    def database(self) -> str:
        self.shared = Database(server())
        self.addCleanup(self.shared.release)
        return self.shared.url

    def count(self) -> int:
        ((number,),) = self.shared.execute("SELECT count(*) FROM chatfiles_keys")
        return int(number)

    def verifying(self) -> list[str]:
        return [str(key) for key, _ in self.shared.execute(example("PostgreSQL"))]


del Cases
