"""
``chatfiles registry``: what it reports of a database, and how it changes one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.platform.registry.migrations import load
from tests.contract.registry_case import FIRST, SECOND
from tests.support import fork_server
from tests.support.patience import PATIENCE
from tests.support.postgres_server import PASSWORD, Database, server


def run(*words: str, database: str, first: str = "") -> subprocess.CompletedProcess[str]:
    """
    :param first: Python that the process executes before the command.
    :return: how ``chatfiles registry`` ended; it runs its own reactor.
    """
    command = ["chatfiles", "registry", *words]
    env = {**os.environ, "CHATFILES_DATABASE": database}
    done = fork_server.run(command, cwd="/", env=env, timeout=PATIENCE, first=first)
    out, err = done.stdout.decode(), done.stderr.decode()
    return subprocess.CompletedProcess(command, done.returncode, out, err)


def interrupted(signum: int) -> tuple[int, str]:
    """
    :return: how ``chatfiles registry status`` ended after a signal, while the server is silent.
    """
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        tempfile.TemporaryFile() as written,
        open(os.devnull) as nothing,
    ):
        silent.settimeout(PATIENCE)
        database = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/x"
        process = fork_server.Forked(
            ["chatfiles", "registry", "status", f"--database={database}"],
            cwd="/",
            env=os.environ,
            stdin=nothing.fileno(),
            stdout=written.fileno(),
            stderr=written.fileno(),
        )
        connection, _ = silent.accept()
        with connection:
            process.send_signal(signum)
            status = process.wait(PATIENCE)
        written.seek(0)
        return status, written.read().decode()


def names_of(dialect: str) -> list[str]:
    """:return: the names of the migrations, as they are printed."""
    return [f"{each.version:04d}_{each.name}" for each in load(dialect)]


class RegistryCommandTests(SynchronousTestCase):
    """``chatfiles registry status`` and ``migrate``."""

    def status(self, database: str) -> dict[str, Any]:
        done = run("status", "--json", database=database)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def goes_through(self, database: str, shown: str, names: list[str]) -> None:
        expected = {"database": shown, "version": 0, "known": len(names), "pending": names}
        self.assertEqual(self.status(database), expected)
        done = run("migrate", database=database)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        expected |= {"version": len(names), "pending": []}
        self.assertEqual(self.status(database), expected)
        self.assertEqual(run("migrate", database=database).returncode, 0)

    def test_postgres(self) -> None:
        """
        ``status`` and ``migrate`` work on PostgreSQL, never print the password, and refuse a newer
        schema.
        """
        database = Database(server())
        self.addCleanup(database.release)
        shown = "postgresql://" + database.url.rpartition("@")[2]
        self.goes_through(database.url, shown, names_of("postgresql"))
        database.execute("INSERT INTO workspaces (id) VALUES (%s)", (str(FIRST),))
        self.assertNotIn(PASSWORD, run("status", database=database.url).stdout)
        database.execute("INSERT INTO chatfiles_schema VALUES (70, now())")
        done = run("status", database=database.url)
        self.assertEqual((done.returncode, done.stdout), (5, ""))
        self.assertIn("schema version 70", done.stderr)

    def test_sqlite(self) -> None:
        """
        ``status`` and ``migrate`` work on SQLite; ``status`` does not create a missing database.
        """
        path = os.path.abspath(self.mktemp())
        database = f"sqlite:{path}"
        done = run("status", database=database)
        self.assertEqual(done.returncode, 8)
        self.assertFalse(os.path.exists(path))
        with open(path, "wb"):
            pass
        self.goes_through(database, database, names_of("sqlite"))

    def test_password(self) -> None:
        """
        A password on the command line, where every user of the machine can read it, causes a
        warning.
        """
        given = f"--database=postgresql://u:{SECOND}@127.0.0.1:1/x"
        done = run("status", given, database="sqlite:x")
        self.assertIn("set CHATFILES_DATABASE", done.stderr)
        self.assertNotIn(str(SECOND), done.stderr)

    def test_out_of_descriptors(self) -> None:
        """A process without free descriptors reports the database without its password."""
        server()
        database = f"postgresql://u:{SECOND}@127.0.0.1:1/x"
        told = ""
        for limit in range(4, 12):
            first = f"from resource import *; setrlimit(RLIMIT_NOFILE, ({limit}, {limit}))"
            done = run("status", database=database, first=first)
            self.assertNotIn(str(SECOND), done.stdout + done.stderr, limit)
            told += done.stderr
        self.assertIn("cannot use postgresql://127.0.0.1:1/x: [Errno 24]", told)

    def test_signals(self) -> None:
        """A signal ends the command at once; the exit status names the signal."""
        server()
        for signum, expected in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
            status, written = interrupted(signum)
            self.assertEqual((status, written.count("\n")), (expected, 1), written)
            self.assertIn("interrupted", written)

    def test_unreachable(self) -> None:
        """
        An unreachable server, or a malformed URL, is reported in one line and without the password.
        """
        server()
        done = run("status", database=f"postgresql://u:{SECOND}@127.0.0.1:1/x")
        self.assertEqual((done.returncode, done.stdout), (6, ""))
        self.assertIn("Connection refused", done.stderr)
        self.assertNotIn(str(SECOND), done.stderr)
        for wrong in ("mysql:x", "postgresql://h:99999/x"):
            done = run("status", database=wrong)
            self.assertEqual(done.returncode, 2)
            self.assertIn("--database takes", done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)
