"""
reference/options, "Command line and environment": an invalid option is reported in one line, before
the role listens.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import sqlite3
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live.processes import Role, environment
from tests.live.rawhttp import fetch
from tests.live.role import arguments, listen_on
from tests.support.fork_server import run
from tests.support.patience import PATIENCE

BOTH, PLATFORM, WORKSPACE = None, "platform", "workspace"


@dataclass(frozen=True, slots=True)
class Wrong:
    """
    :param says: what the line has to contain: the option, and what it takes.
    """

    role: str | None
    options: tuple[str, ...]
    says: tuple[str, ...]
    told: Mapping[str, str] = field(default_factory=dict)


WRONG = (
    Wrong(BOTH, (), ("--role", "platform or workspace")),
    Wrong(PLATFORM, ("--listen=tcp:http",), ("--listen", "tcp:8080")),
    Wrong(PLATFORM, ("--listen=tcp:0:port_=1",), ("--listen", "a parameter is missing or unknown")),
    Wrong(PLATFORM, ("--listen=tcp:0", "--listen=tcp:99999"), ("--listen", "65535")),
    Wrong(PLATFORM, ("--listen=tcp:0", "--listen=tcp:-1"), ("--listen", "65535")),
    Wrong(
        WORKSPACE,
        ("--listen=tcp:0", "--listen=tcp:interface=127.0.0.1:port=-1"),
        ("--listen", "65535"),
    ),
    Wrong(PLATFORM, ("--database=mysql://x",), ("--database", "sqlite:PATH")),
    Wrong(PLATFORM, ("--database=postgresql://h:99999/x",), ("--database",)),
    Wrong(PLATFORM, ("--trusted-proxy=proxy.test",), ("--trusted-proxy", "10.0.0.5/32", "unix")),
    Wrong(PLATFORM, (), ("CHATFILES_ADMIN_TOKEN", "16"), {"CHATFILES_ADMIN_TOKEN": "short"}),
    Wrong(WORKSPACE, ("--deny=workspace/*",), ("--deny", "/")),
    Wrong(WORKSPACE, (), ("max-file-bytes", "bytes"), {"CHATFILES_MAX_FILE_BYTES": "1 MB"}),
)


class OptionTests(SynchronousTestCase):
    """The options of both roles: invalid values, files that are created, privileges."""

    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="chatfiles-options-")
        self.addCleanup(shutil.rmtree, self.directory)

    def run_role(
        self,
        role: str | None,
        *options: str,
        told: Mapping[str, str] | None = None,
        twistd: Sequence[str] = (),
    ) -> tuple[int, str]:
        """:return: the exit status and the output of a process that ends by itself."""
        words, env = arguments(role, *options, twistd=twistd), environment(told or {})
        done = run(words, cwd=self.directory, env=env, timeout=PATIENCE)
        return done.returncode, (done.stdout + done.stderr).decode()

    def complaint(self, given: Wrong) -> str | None:
        """:return: what is wrong with how the process ends."""
        status, output = self.run_role(given.role, *given.options, told=given.told)
        lines = output.splitlines()
        good = status == 1 and len(lines) == 1 and all(s in lines[0] for s in given.says)
        return None if good else f"{given}: {status}, {lines}"

    def test_wrong(self) -> None:
        """
        An invalid option ends the process with status 1 and one line that names the option and what
        it takes; no file is created.
        """
        wrong = [what for given in WRONG if (what := self.complaint(given)) is not None]
        self.assertEqual("\n".join(wrong), "")
        self.assertEqual(os.listdir(self.directory), [])

    def test_wrong_state(self) -> None:
        """
        If the state directory or the token's file is unusable, the process ends and names the
        option at fault.
        """
        os.symlink("nowhere", os.path.join(self.directory, "link"))
        os.mkfifo(os.path.join(self.directory, "pipe"))
        with open(os.path.join(self.directory, "file"), "w"):
            pass
        for option, takes, reason in (
            ("--admin-token-file=link", "--admin-token-file takes", "a file that is not there"),
            ("--admin-token-file=pipe", "--admin-token-file takes", "not a regular file"),
            ("--admin-token-file=file/x", "--admin-token-file takes", "Not a directory"),
            ("--state-dir=file", "--state-dir takes", "Not a directory"),
            ("--state-dir=file/state", "--state-dir takes", "Not a directory"),
        ):
            path = os.path.join(self.directory, option.partition("=")[2])
            told = self.complaint(Wrong(PLATFORM, (option,), (takes, reason, path)))
            self.assertEqual(told, None)
        self.assertEqual(sorted(os.listdir(self.directory)), ["file", "link", "pipe"])

    def test_no_secret_on_the_command_line(self) -> None:
        """There is no option that takes a secret."""
        status, output = self.run_role(PLATFORM, "--help")
        self.assertEqual(status, 0)
        self.assertIn("--admin-token-file", output)
        self.assertNotRegex(output, r"--(admin-token|token|secret|inbound-secret)\b[ =](?!-)")

    def test_port_in_use(self) -> None:
        """If the port is in use, the process ends with status 1 and names the port."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            listen = listen_on(port)
            status, output = self.run_role(WORKSPACE, listen)
        self.assertEqual(status, 1)
        self.assertIn(f"{port}", output)
        self.assertIn("cannot start", output)
        self.assertNotIn("Traceback", output)

    def test_burst(self) -> None:
        """
        200 clients can connect at once while the process is busy.  With ``:backlog=20`` they
        cannot; those that do not fit wait for a second.
        """
        for more, fit in (("", True), (":backlog=20", False)):
            role = Role("workspace", f"--listen=tcp:0:interface=127.0.0.1{more}")
            self.addCleanup(role.kill)
            port = role.port
            role.signal(signal.SIGSTOP)
            with contextlib.ExitStack() as stack:
                waiting = 0
                for _ in range(200):
                    caller = stack.enter_context(socket.socket())
                    caller.settimeout(2)
                    try:
                        caller.connect(("127.0.0.1", port))
                    except TimeoutError:
                        waiting += 1
                        break
                role.signal(signal.SIGCONT)
            self.assertEqual(waiting == 0, fit, more)
            role.stop()

    def test_unusable_database(self) -> None:
        """A platform does not start with a file that is not a SQLite database."""
        path = os.path.join(self.directory, "registry.db")
        with open(path, "wb") as file:
            file.write(b"this is no database" * 1000)
        status, output = self.run_role(PLATFORM, f"--database=sqlite:{path}", "--listen=tcp:0")
        self.assertEqual(status, 1, output)
        self.assertIn(f"cannot start: --database: {path} cannot be opened: file is not a", output)
        self.assertNotIn("ready on", output)
        self.assertNotIn("Traceback", output)

    def test_missing_directories(self) -> None:
        """Messages about a file or directory that is not there, or is something else, name it."""
        path, other = os.path.join(self.directory, "none"), os.path.join(self.directory, "file")
        with open(other, "w"):
            pass
        for database, reason in (
            (f"{path}/registry.db", "No such file or directory"),
            (f"{other}/registry.db", "Not a directory"),
        ):
            status, output = self.run_role(PLATFORM, f"--database=sqlite:{database}")
            self.assertEqual(status, 1, output)
            says = f"cannot start: --database: {database} cannot be opened: {reason}"
            self.assertIn(says, output)
        for directory, reason, secret in (
            (path, "No such file or directory", "does not exist yet"),
            (other, "Not a directory", "cannot be read: Not a directory"),
        ):
            role = Role("workspace", f"--root=/workspace={directory}", f"--configs-dir={directory}")
            self.addCleanup(role.kill)
            role.logged(f"--root=/workspace={directory} cannot be opened: {reason}")
            role.logged(f"{directory}/.platform_inbound_secret {secret}")
            role.stop()
        status, output = self.run_role(WORKSPACE, twistd=[f"--logfile={path}/role.log"])
        self.assertEqual((status, output.count("\n")), (1, 1), output)
        self.assertIn(f"--logfile: {path}/role.log: No such file or directory", output)

    def test_no_state(self) -> None:
        """With PostgreSQL and a token from the environment, no state directory is needed."""
        role = Role(
            "platform",
            "--state-dir=/proc/nowhere/state",
            "--database=postgresql://nobody@127.0.0.1:1/nothing",
            told={"CHATFILES_ADMIN_TOKEN": "x" * 40},
        )
        self.addCleanup(role.kill)
        self.assertTrue(role.url)

    def test_state(self) -> None:
        """
        Only its user can access the state of a platform.  A restart uses the same token and
        registry.
        """
        state = os.path.join(self.directory, "new", "state")
        role = Role("platform", f"--state-dir={state}")
        self.addCleanup(role.kill)
        assert role.url, "it listens, so there is an admin token"
        with open(os.path.join(state, "admin-token")) as file:
            token = file.read().strip()
        role.logged(f"created an admin token in {state}/admin-token")
        self.assertRegex(token, r"\A[A-Za-z0-9_-]{43}\Z")
        role.secrets.add(token)
        admin = {"Authorization": f"Bearer {token}"}
        made = fetch(role.url, "/workspaces", admin, method="POST", body=b"{}").json
        role.secrets.add(made["auth_token"])
        role.stop()
        self.assertEqual(stat.S_IMODE(os.stat(state).st_mode), 0o700)
        for name in os.listdir(state):
            mode = os.stat(os.path.join(state, name)).st_mode
            self.assertEqual(stat.S_IMODE(mode), 0o600, name)

        # The environment can set every option; the command line takes precedence.
        told = {
            "CHATFILES_ROLE": "workspace",
            "CHATFILES_STATE_DIR": state,
            "CHATFILES_MAX_FILE_BYTES": "5",
            "CHATFILES_MAX_REQUEST_BYTES": "2000",
            "CHATFILES_LISTEN": "tcp:1",
            "CHATFILES_UPSTREAM_ALLOW": "10.0.0.0/8\n127.0.0.0/8",
        }
        again = Role("platform", "--max-file-bytes=1000", told=told)
        self.addCleanup(again.kill)
        again.secrets.add(token)
        [row] = fetch(again.url, "/workspaces", admin).json["workspaces"]
        self.assertNotIn("created an admin token", again.log)
        self.assertEqual(row["id"], made["id"])
        limits = fetch(again.url, "/uploads/limits").json
        self.assertEqual((limits["per_file_bytes"], limits["per_request_bytes"]), (1000, 2000))
        body = b'{"url": "http://127.0.0.1:8000"}'
        allowed = fetch(again.url, "/workspaces", admin, method="POST", body=body)
        self.assertEqual(allowed.status, 201)
        again.secrets.add(allowed.json["auth_token"])
        again.stop()

    def test_other_user(self) -> None:
        """
        Files that are created before ``twistd`` drops its privileges belong to the new user and
        group, so they remain usable.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can become somebody else")
        os.chmod(self.directory, 0o755)
        state = os.path.join(self.directory, "state")
        for which in (["--uid=65534", "--gid=65533"], ["--uid=65534"]):
            role = Role("platform", f"--state-dir={state}", twistd=which)
            self.addCleanup(role.kill)
            assert role.url, "it listens"
            made = [os.path.join(state, name) for name in ("admin-token", "registry.db", "")]
            group = 65533 if len(which) > 1 else pwd.getpwuid(65534).pw_gid
            for path in made:
                found = os.stat(path)
                self.assertEqual((found.st_uid, found.st_gid), (65534, group), path)
            role.stop()
            shutil.rmtree(state)

    def test_existing_tables(self) -> None:
        """An existing database keeps its tables and rows, and gets the missing columns."""
        path = os.path.join(self.directory, "theirs.db")
        with sqlite3.connect(path) as database:
            database.executescript(
                """
                create table workspaces (id text primary key, name text, url text, status text,
                    delivery_mode text, platform_inbound_secret text, last_heartbeat_at text,
                    created_at text, updated_at text, something_of_theirs text);
                create table workspace_auth_tokens (id text primary key, workspace_id text,
                    token_hash blob, prefix text, created_at text, last_used_at text,
                    revoked_at text);
                insert into workspaces (id, name, url, status, something_of_theirs) values
                    ('5f0f1f0c-9b4e-4a43-9d0e-3a8f5f4b7f10', 'theirs', null, 'online', 'kept');
                """
            )
        database.close()
        role = Role(
            "platform",
            f"--database=sqlite:{path}",
            told={"CHATFILES_ADMIN_TOKEN": "a-token-from-the-environment"},
            directory=self.directory,
        )
        self.addCleanup(role.kill)
        admin = {"Authorization": "Bearer a-token-from-the-environment"}
        [row] = fetch(role.url, "/workspaces", admin).json["workspaces"]
        # Nothing has been heard of it for 90 seconds, so it is shown as offline.
        self.assertEqual((row["name"], row["url"], row["status"]), ("theirs", None, "offline"))
        role.stop()
        with sqlite3.connect(path) as database:
            [kept] = database.execute("select status, something_of_theirs from workspaces")
            database.execute("select scopes from workspace_auth_tokens")
        database.close()
        self.assertEqual(kept, ("online", "kept"))
