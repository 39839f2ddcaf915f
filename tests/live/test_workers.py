"""
reference/options, "Several processes": with ``--workers``, several processes serve one role.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live.pair import VIA
from tests.live.processes import LiveCase, Pair, Role, until
from tests.live.rawhttp import Answer, Connection, Incomplete, fetch
from tests.live.role import arguments, environment, listen_on
from tests.support.certificates import write_certificates
from tests.support.fork_server import EXECUTE_WORKERS, FORKS_WORKERS, run
from tests.support.patience import PATIENCE
from tests.support.ports import free_port

WORKERS = 2
OPTION = f"--workers={WORKERS}"
SIZE = 96 << 20
SMALL = b"path=/workspace/small.txt"
LARGE = b"path=/workspace/large.bin"
#: Takes a socket that listens as systemd gives it.
FROM_SYSTEMD = """
import os, socket
listener = socket.create_server(("127.0.0.1", 0))
os.dup2(listener.fileno(), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="a")
from twisted.scripts.twistd import run
from tests.support.ports import free_port
run()
"""


def children(pid: int) -> list[int]:
    """:return: the processes that a process has started."""
    with contextlib.suppress(FileNotFoundError):
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(each) for each in found if name_of(each) != FORKS_WORKERS]
    return []


def name_of(pid: str) -> str:
    """:return: what the kernel calls a process; empty if it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")
    return ""


def exists(pid: int) -> bool:
    """:return: whether there is such a process, and it has not ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def is_stopped(pid: int) -> bool:
    """:return: whether SIGSTOP has taken effect in all threads."""
    states = [
        task.read_text().rpartition(")")[2].split()[0]
        for task in Path(f"/proc/{pid}/task").glob("*/stat")
    ]
    return set(states) == {"T"}


class WorkersCase(SynchronousTestCase):
    """Tests that end processes, so each has its own."""

    def make(
        self,
        *both: str,
        platform: Sequence[str] = (),
        workspace: Sequence[str] = (),
        first: str = "",
    ) -> Pair:
        """
        :param both: options of both roles.
        :param platform: options of the platform.
        :param workspace: options of the workspace.
        :param first: Python that both processes execute before ``twistd``.
        :return: a pair with a small and a large file.  Without options for one role, both roles
            have workers.
        """
        if not platform and not workspace:
            both = (OPTION, *both)
        pair = Pair(both=both, platform=platform, workspace=workspace, first=first)
        self.addCleanup(pair.discard)
        with open(pair.at("workspace", "large.bin"), "wb") as file:
            file.truncate(SIZE)
        pair.write("workspace/small.txt", b"small")
        return pair

    def scratch(self) -> str:
        """:return: a directory of the test."""
        base = tempfile.mkdtemp(prefix="chatfiles-workers-")
        self.addCleanup(shutil.rmtree, base, ignore_errors=True)
        return base

    def workers(self, role: Role) -> list[int]:
        """:return: the processes of the workers."""
        assert role.url, "it is ready"
        found = children(role.pid)
        self.assertEqual(len(found), WORKERS)
        return found

    @contextlib.contextmanager
    def stopped(self, pid: int) -> Iterator[None]:
        """A process that stands still."""
        os.kill(pid, signal.SIGSTOP)
        try:
            until(lambda: is_stopped(pid), "the process is stopped")
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def connect_to(self, role: Role, worker: int, **more: Any) -> Connection:
        """:return: a connection that *worker* has accepted."""
        (other,) = set(self.workers(role)) - {worker}
        with self.stopped(other):
            connection = Connection(role.url, **more)
            self.addCleanup(connection.close)
            self.assertEqual(connection.exchange("GET", "/health").status, 200)
        return connection

    def begin(self, pair: Pair, role: Role, worker: int) -> Answer:
        """:return: a transfer of the large file by *worker*, far from its end."""
        connection = self.connect_to(role, worker, receive_buffer=65536)
        for _, each, target, fields in pair.hops(LARGE):
            if each is role:
                connection.ask("GET", target, fields)
        answer = connection.answer()
        answer.exactly(100_000)
        return answer

    def served(self, pair: Pair, role: Role) -> None:
        """The role serves a file on a new connection to it."""
        for _, each, target, fields in pair.hops(SMALL):
            if each is role:
                answer = fetch(role.url, target, fields)
                self.assertEqual((answer.status, answer.body), (200, b"small"))

    def complete(self, answer: Answer) -> None:
        """The whole file arrives."""
        self.assertEqual(100_000 + len(answer.rest()), SIZE)


class SharedTests(WorkersCase, LiveCase):
    """What needs no process of its own."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(both=[OPTION])

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        pair.write("workspace/small.txt", b"small")

    def test_ready(self) -> None:
        """There is one line with ``ready on``, when all workers are ready."""
        for _, role, _, _ in self.pair.hops(SMALL):
            workers = self.workers(role)
            self.assertEqual(role.log.count("ready on"), 1 + len(self.pair.outside))
            for worker in workers:
                connection = self.connect_to(role, worker)
                self.assertEqual(connection.exchange("GET", "/ready").status, 200)

    def test_queue(self) -> None:
        """A worker that stands still delays no new connection; each worker serves files."""
        for role in self.pair.roles:
            for worker in self.workers(role):
                with self.stopped(worker):
                    for _ in range(4):
                        self.served(self.pair, role)

    def test_log(self) -> None:
        """The lines of all workers are in the log, in the usual form."""
        for _, role, target, credential in self.pair.hops(SMALL):
            for number, worker in enumerate(self.workers(role)):
                request_id = f"from-worker-{number}"
                fields = {**credential, "X-Request-Id": request_id}
                connection = self.connect_to(role, worker)
                self.assertEqual(connection.exchange("GET", target, fields).status, 200)
                role.logged(rf"^\S+T\S+ \[chatfiles\.\S+#info\] {request_id} .* 200 5 bytes")

    def test_revocation(self) -> None:
        """A revoked token is refused at once by all workers, also by those that have it cached."""
        made, token = self.pair.add(self.pair.workspace.url)
        target = f"/workspaces/{made}/chat/download?path=/workspace/small.txt"
        bearer = {"Authorization": f"Bearer {token}"}
        role = self.pair.platform
        connections = [self.connect_to(role, worker) for worker in self.workers(role)]
        for connection in connections:
            answer = connection.exchange("GET", target, bearer)
            self.assertNotEqual(answer.status, 401, answer.body)
        listed = self.pair.as_admin("GET", f"/workspaces/{made}/tokens").json
        (token_id,) = [each["id"] for each in listed["tokens"]]
        for connection in connections:
            self.assertNotEqual(connection.exchange("GET", target, bearer).status, 401)
        gone = self.pair.as_admin("DELETE", f"/workspaces/{made}/tokens/{token_id}")
        self.assertEqual(gone.status, 204)
        for connection in connections:
            self.assertEqual(connection.exchange("GET", target, bearer).status, 401)

    def test_fair(self) -> None:
        """A burst of connections is divided among the workers."""
        role = self.pair.workspace
        workers = self.workers(role)
        before = [len(sockets(worker)) for worker in workers]
        connections = [Connection(role.url) for _ in range(40)]
        for connection in connections:
            self.addCleanup(connection.close)
            self.assertEqual(connection.exchange("GET", "/health").status, 200)
        found = [
            len(sockets(worker)) - count for worker, count in zip(workers, before, strict=True)
        ]
        self.assertEqual(sum(found), 40)
        self.assertGreater(min(found), 4, found)


def sockets(pid: int) -> list[str]:
    """:return: the sockets that a process has open."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return [target for target in found if target.startswith("socket:")]


class OneProcessTests(WorkersCase):
    """The default."""

    def test_default(self) -> None:
        """By default, a role is one process."""
        pair = Pair()
        self.addCleanup(pair.discard)
        for role in pair.roles:
            self.assertEqual(children(role.pid), [])


class DeathTests(WorkersCase):
    """A process is killed."""

    def test_worker(self) -> None:
        """
        If a worker is killed, the transfers of the others continue, and new requests are served;
        its own are visibly interrupted.  It is replaced.
        """
        pair = self.make()
        for role in pair.roles:
            kept, killed = self.workers(role)
            lost, answer = self.begin(pair, role, killed), self.begin(pair, role, kept)
            os.kill(killed, signal.SIGKILL)
            self.assertRaises(Incomplete, lost.rest)
            for response in pair.get(SMALL).values():
                self.assertEqual(response.body, b"small")
            role.logged(r"worker \d was killed by signal 9; it is replaced in 1 s")
            self.complete(answer)
            until(lambda: len(children(role.pid)) == WORKERS, "the worker is replaced")  # noqa: B023
            (new,) = set(children(role.pid)) - {kept}
            has_channel = pair.via != "url" and role is pair.platform  # which no other can use
            with contextlib.nullcontext() if has_channel else self.stopped(kept):
                self.served(pair, role)
            self.assertEqual(role.log.count("ready on"), 1 + len(pair.outside))
            self.assertNotEqual(new, killed)
        pair.stop()

    def test_again(self) -> None:
        """The delay is doubled for a worker that is killed again soon."""
        soon = (
            f"from chatfiles.runtime.workers import worker_process as w; w.LAST_DELAY = {PATIENCE}"
        )
        pair = self.make(workspace=[OPTION], first=soon)
        role = pair.workspace
        kept, killed = self.workers(role)
        os.kill(killed, signal.SIGKILL)
        role.logged(r"worker \d was killed by signal 9; it is replaced in 1 s")
        until(lambda: len(children(role.pid)) == WORKERS, "the worker is replaced")
        (again,) = set(children(role.pid)) - {kept}
        os.kill(again, signal.SIGKILL)
        role.logged(r"worker \d was killed by signal 9; it is replaced in 2 s")

    def test_first_process(self) -> None:
        """
        If the first process is killed, the workers finish their transfers and end.  Another role
        can then listen on the same port.
        """
        pair = self.make(workspace=[OPTION, listen_on(free_port())])
        role = pair.workspace
        workers = self.workers(role)
        answer = self.begin(pair, role, workers[0])
        role.signal(signal.SIGKILL)
        self.complete(answer)
        until(lambda: not any(exists(worker) for worker in workers), "the workers have ended")
        with socket.create_server(("127.0.0.1", role.port)):
            pass

    def test_upload_of_a_killed_worker(self) -> None:
        """The files of a killed worker's uploads are removed; one process does it."""
        pair = self.make(workspace=[OPTION])
        role = pair.workspace
        directory = pair.at("workspace", ".molecule", "chat-uploads")
        os.makedirs(directory)
        left = os.path.join(directory, f".upload-{'0' * 32}.part")
        with open(left, "w") as file:
            file.write("unfinished")
        os.kill(self.workers(role)[0], signal.SIGKILL)
        role.logged("removed 1 uploads that a killed process left")
        self.assertFalse(os.path.exists(left))


class StartTests(WorkersCase):
    """The start of a role with workers."""

    def test_once(self) -> None:
        """The first process alone makes the token and the schema, sweeps and registers."""
        if VIA == "nat":
            raise SkipTest("a workspace in a namespace is no copy of a process that has begun")
        base = self.scratch()
        directory = os.path.join(base, "files", ".molecule", "chat-uploads")
        os.makedirs(directory)
        for number in range(3):
            Path(directory, f".upload-{number:032}.part").touch()
        pair = self.make(first=EXECUTE_WORKERS)
        made, token = pair.add(None)
        configs = os.path.join(base, "configs")
        os.mkdir(configs)
        Path(configs, ".auth_token").write_text(token)
        port = free_port()
        role = Role(
            "workspace",
            OPTION,
            listen_on(port),
            f"--root=/workspace={base}/files",
            f"--configs-dir={configs}",
            f"--platform={pair.platform.url}",
            f"--workspace-id={made}",
            f"--advertise=http://127.0.0.1:{port}",
        )
        self.addCleanup(role.kill)
        until(Path(configs, ".platform_inbound_secret").exists, "it has registered")
        role.logged("platform_inbound_secret stored")
        target = f"/workspaces/{made}/chat/download?path=/workspace/none"
        bearer = {"Authorization": f"Bearer {token}"}
        self.assertEqual(fetch(pair.platform.url, target, bearer).status, 404)
        role.stop()
        self.assertEqual(pair.platform.log.count(f"{made} register 200"), 1)
        self.assertEqual(role.log.count("removed 3 uploads"), 1)
        self.assertEqual(pair.platform.log.count("created an admin token"), 1)
        self.assertNotIn(pair.admin, " ".join(map(command_line, self.workers(pair.platform))))
        self.check_admin_token(pair)

    def check_admin_token(self, pair: Pair) -> None:
        """Each worker takes a new admin token from the file, and one of them logs that."""
        new, path = "a-new-admin-token-of-the-operator", os.path.join(pair.state, "admin-token")
        pair.hide(new)
        Path(path).write_text(new)
        for worker in self.workers(pair.platform):
            until(lambda: self.opens(pair.platform, worker, new), "it is taken")  # noqa: B023
        pair.platform.logged("the admin token was changed")
        self.assertEqual(pair.platform.log.count("the admin token was changed"), 1)

    def opens(self, role: Role, worker: int, token: str) -> bool:
        """:return: whether *worker* accepts an admin token."""
        connection = self.connect_to(role, worker)
        bearer = {"Authorization": f"Bearer {token}"}
        return connection.exchange("GET", "/workspaces", bearer).status == 200

    def test_cannot_start(self) -> None:
        """A role that cannot start ends with status 1 and the reason, and leaves no process."""
        base = self.scratch()
        broken = os.path.join(base, "broken.db")
        Path(broken).write_bytes(b"no database" * 1000)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            for options, reason in (
                ([f"--database=sqlite:{broken}"], "--database: .*broken.db"),
                ([listen_on(port)], f"--listen=tcp:{port}.* in use"),
            ):
                role = Role("platform", OPTION, f"--state-dir={base}/state", *options)
                self.addCleanup(role.kill)
                self.assertEqual(role.wait(), 1)
                self.assertRegex(role.log, f"cannot start: {reason}")
                self.assertNotIn("worker 1 is process", role.log)

    def test_worker_cannot_start(self) -> None:
        """If a worker cannot start, the role does not start either."""
        base = self.scratch()
        first = f"import os; os.environ['PYTHONPATH'] = {base!r} + ':' + os.environ['PYTHONPATH']"
        Path(base, "sitecustomize.py").write_text("import sys; sys.exit('no luck')")
        role = Role("workspace", OPTION, f"--root=/workspace={base}", first=EXECUTE_WORKERS + first)
        self.addCleanup(role.kill)
        self.assertEqual(role.wait(), 1)
        self.assertIn("no luck", role.log)
        self.assertRegex(role.log, "cannot start: worker [12] ended with status 1")

    def test_wrong(self) -> None:
        """A wrong option is reported once, before there are workers."""
        for role, option, reason in (
            ("platform", "--workers=0", "--workers takes a number of processes from 1 to 64"),
            ("platform", "--workers=65", "--workers takes a number of processes from 1 to 64"),
            ("platform", "--upstream-allow=all", "--upstream-allow takes networks"),
            ("platform", "--trusted-proxy=all", "--trusted-proxy takes networks"),
            ("workspace", "--deny=a**b/", "--deny takes globs"),
        ):
            words = arguments(role, OPTION, option)
            done = run(words, cwd=self.scratch(), env=environment(), timeout=PATIENCE)
            self.assertEqual(done.returncode, 1, option)
            self.assertIn(f"chatfiles: {reason}", done.stderr.decode())
            self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)

    def test_chroot(self) -> None:
        """``twistd --chroot`` is refused."""
        words = arguments("workspace", OPTION, twistd=["--chroot=/tmp"])
        done = run(words, cwd="/", env=environment(), timeout=PATIENCE)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"--chroot is not supported with several processes", done.stderr)


def command_line(pid: int) -> str:
    """:return: the arguments of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")


class EndTests(WorkersCase):
    """The shutdown of a role with workers."""

    def test_drains(self) -> None:
        """After SIGTERM, all workers finish their transfers, and no new connection is accepted."""
        pair = self.make()
        for role in (pair.platform, pair.workspace):
            workers, mark = self.workers(role), role.mark()
            answers = [self.begin(pair, role, worker) for worker in workers]
            role.signal(signal.SIGTERM)
            until(lambda: refuses(role.port), "new connections are refused")  # noqa: B023
            for answer in answers:
                self.complete(answer)
            role.ended_well()
            complete = re.findall(rf" 200 {SIZE} bytes .* complete", role.log_since(mark))
            self.assertEqual(len(complete), WORKERS)
            self.assertFalse(any(map(exists, workers)))
            self.assertNotIn("is replaced", role.log)

    def test_drain_delay(self) -> None:
        """During ``--drain-delay``, new connections are accepted; ``/ready`` is 503."""
        pair = self.make(platform=[OPTION, "--drain-delay=10"])
        role = pair.platform
        answer = self.begin(pair, role, self.workers(role)[0])
        role.signal(signal.SIGTERM)
        until(lambda: fetch(role.url, "/ready").status == 503, "it drains")
        self.assertEqual(fetch(role.url, "/health").status, 200)
        self.complete(answer)
        role.ended_well()

    def test_impatient(self) -> None:
        """A second Ctrl-C visibly interrupts the transfers of all workers."""
        pair = self.make("--drain-timeout=600")
        for role in (pair.platform, pair.workspace):
            answers = [self.begin(pair, role, worker) for worker in self.workers(role)]
            for _ in range(200):
                if "aborts what is left" in role.log:
                    break
                role.signal(signal.SIGINT)  # as users do
                time.sleep(0.1)
            role.ended_well()
            for answer in answers:
                self.assertRaises(Incomplete, answer.rest)
            self.assertEqual(len(re.findall(r" 200 \d+ bytes .* shutdown", role.log)), WORKERS)

    def test_terminal(self) -> None:
        """Ctrl-C in a terminal, which all processes receive, drains like any other."""
        pair = self.make(workspace=[OPTION])
        role = pair.workspace
        workers = self.workers(role)
        answers = [self.begin(pair, role, worker) for worker in workers]
        for pid in (*workers, role.pid):
            os.kill(pid, signal.SIGINT)
        role.logged("Received SIGINT")
        for answer in answers:
            self.complete(answer)
        role.ended_well()


def refuses(port: int) -> bool:
    """:return: whether a connection is refused."""
    try:
        with socket.create_connection(("127.0.0.1", port)):
            return False
    except ConnectionRefusedError:
        return True


class LogFileTests(WorkersCase):
    """Log files, the PID file, the user and the directory of a role with workers."""

    def start(self) -> tuple[Role, str]:
        """:return: a workspace with a log file, which is ready, and the file."""
        base = self.scratch()
        log = os.path.join(base, "role.log")
        role = Role(
            "workspace",
            OPTION,
            f"--root=/workspace={base}",
            f"--configs-dir={base}",
            twistd=[f"--logfile={log}"],
        )
        self.addCleanup(role.kill)
        until(lambda: os.path.exists(log) and "ready on" in Path(log).read_text(), "it is ready")
        return role, log

    def ask(self, log: str, role: Role, request_id: str, url: str) -> None:
        """Ask each worker, and wait for its line in the log."""
        workers = children(role.pid)
        for worker in workers:
            others = [each for each in workers if each != worker]
            with contextlib.ExitStack() as stack:
                for other in others:
                    stack.enter_context(self.stopped(other))
                fields = {"X-Request-Id": f"{request_id}-{worker}"}
                fetch(url, "/internal/file/read?path=/workspace/a", fields)
            until(lambda: f"{request_id}-{worker}" in Path(log).read_text(), "a line")  # noqa: B023

    def test_rotation(self) -> None:
        """After SIGHUP, all lines of all workers are in the new file; none is lost."""
        role, log = self.start()
        moved = log + ".old"
        (url,) = re.findall(r"ready on (\S+)", Path(log).read_text())
        self.ask(log, role, "before", url)
        os.rename(log, moved)
        role.signal(signal.SIGHUP)
        until(lambda: os.path.exists(log) and "reopened" in Path(log).read_text(), "a new file")
        self.ask(log, role, "after", url)
        self.assertEqual(Path(moved).read_text().count(" before-"), WORKERS)
        self.assertEqual(Path(log).read_text().count(" after-"), WORKERS)
        until(
            lambda: Path(log).read_text().count("continues after SIGHUP") == WORKERS,
            "the signal was passed on",
        )
        role.stop()

    def test_daemon(self) -> None:
        """In the background, the PID file names the first process, whose end is that of all."""
        base = self.scratch()
        pidfile, log = os.path.join(base, "role.pid"), os.path.join(base, "twistd.log")
        words = arguments(
            "workspace",
            OPTION,
            "--listen=tcp:0:interface=127.0.0.1",
            f"--root=/workspace={base}",
            "--configs-dir=configs",
        )
        words = [f"--pidfile={pidfile}" if word == "--pidfile=" else word for word in words]
        words.remove("-n")
        program = "from twisted.scripts.twistd import run; run()"
        done = run_python(program, words[1:], base)
        self.assertEqual(done, 0)
        pid = int(Path(pidfile).read_text())
        self.addCleanup(kill, pid)
        until(lambda: "ready on" in Path(log).read_text(), "it is ready")
        workers = children(pid)
        self.assertEqual(len(workers), WORKERS)
        os.kill(pid, signal.SIGTERM)
        until(lambda: not any(map(exists, [pid, *workers])), "all have ended")
        self.assertFalse(os.path.exists(pidfile))

    def test_directory(self) -> None:
        """With ``--rundir``, relative paths mean the same as with one process."""
        base = self.scratch()
        os.makedirs(os.path.join(base, "files"))
        os.mkdir(os.path.join(base, "run"))
        Path(base, "files", "a.txt").write_text("hello")
        os.makedirs(os.path.join(base, "configs"))
        Path(base, "configs", ".platform_inbound_secret").write_text("s" * 32)
        role = Role(
            "workspace",
            OPTION,
            "--root=/workspace=files",
            "--configs-dir=configs",
            twistd=["--rundir=run"],
            directory=base,
        )
        self.addCleanup(role.kill)
        answer = fetch(
            role.url,
            "/internal/file/read?path=/workspace/a.txt",
            {"Authorization": f"Bearer {'s' * 32}"},
        )
        self.assertEqual((answer.status, answer.body), (200, b"hello"))
        for worker in self.workers(role):
            self.assertEqual(os.readlink(f"/proc/{worker}/cwd"), os.path.join(base, "run"))
        role.stop()

    def test_user(self) -> None:
        """With ``--uid``, all processes are that user's, and so is what the platform creates."""
        if os.getuid() != 0:
            raise SkipTest("only root can switch to another user")
        base = self.scratch()
        os.chmod(base, 0o777)
        if not may_run_python(65534):
            raise SkipTest("that user cannot execute this Python")
        state = os.path.join(base, "state")
        role = Role(
            "platform", OPTION, f"--state-dir={state}", twistd=["--uid=65534", "--gid=65534"]
        )
        self.addCleanup(role.kill)
        for pid in (role.pid, *self.workers(role)):
            self.assertEqual(os.stat(f"/proc/{pid}").st_uid, 65534)
        for name in ("", "admin-token", "registry.db"):
            self.assertEqual(os.stat(os.path.join(state, name)).st_uid, 65534, name)
        self.assertEqual(fetch(role.url, "/ready").status, 200)
        role.stop()


def may_run_python(uid: int) -> bool:
    """:return: whether a user can execute this Python."""
    try:
        done = subprocess.run([sys.executable, "-c", ""], user=uid, group=uid, check=False)
    except PermissionError:
        return False
    return done.returncode == 0


def run_python(program: str, words: Sequence[str], directory: str) -> int:
    """:return: the exit status of a Python program."""
    command = [sys.executable, "-P", "-c", program, *words]
    return subprocess.run(
        command, cwd=directory, env=environment(), check=False, timeout=PATIENCE
    ).returncode


def kill(pid: int) -> None:
    """Make sure that a process has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class ListenerTests(WorkersCase):
    """Every kind of listener can be shared."""

    def workspace(self, listen: str) -> Role:
        """:return: a workspace with workers."""
        base = self.scratch()
        role = Role("workspace", OPTION, f"--listen={listen}", f"--root=/workspace={base}")
        self.addCleanup(role.kill)
        return role

    def test_unix(self) -> None:
        """The mode of a Unix socket is the operator's, and the socket is removed at the end."""
        path = os.path.join(self.scratch(), "socket")
        role = self.workspace(f"unix:{path}:mode=660")
        self.assertEqual(role.url, f"unix:{path}")
        for worker in self.workers(role):
            with self.stopped(worker), socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                self.assertIn(b"200 OK", connection.recv(65536))
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o660)
        os.kill(self.workers(role)[0], signal.SIGTERM)
        role.logged(r"worker \d ended with status 0; it is replaced")
        self.assertTrue(os.path.exists(path))
        role.stop()
        self.assertFalse(os.path.exists(path))

    def test_tls(self) -> None:
        """Each worker serves TLS."""
        base = self.scratch()
        write_certificates(base)
        role = self.workspace(
            f"ssl:0:interface=127.0.0.1:privateKey={base}/key.pem:certKey={base}/cert.pem"
            f":extraCertChain={base}/chain.pem"
        )
        trusting = ssl.create_default_context(cafile=os.path.join(base, "root.pem"))
        trusting.check_hostname = False
        for worker in self.workers(role):
            with (
                self.stopped(worker),
                socket.create_connection(("127.0.0.1", role.port)) as plain,
                trusting.wrap_socket(plain) as secure,
            ):
                secure.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                self.assertIn(b"200 OK", secure.recv(65536))
        role.stop()

    def test_systemd(self) -> None:
        """A socket that systemd has opened is shared."""
        base = self.scratch()
        words = arguments(
            "workspace", OPTION, "--listen=systemd:domain=INET:index=0", f"--root=/workspace={base}"
        )
        launch = [sys.executable, "-P", "-c", FROM_SYSTEMD, *words[1:]]
        role = Role("workspace", launch=launch)
        self.addCleanup(role.kill)
        for worker in self.workers(role):
            with self.stopped(worker):
                self.assertEqual(fetch(role.url, "/health").status, 200)
        role.stop()

    def test_several(self) -> None:
        """Several listeners have one line each."""
        path = os.path.join(self.scratch(), "socket")
        role = Role(
            "workspace",
            OPTION,
            "--listen=tcp:0:interface=127.0.0.1",
            f"--listen=unix:{path}",
            f"--root=/workspace={self.scratch()}",
        )
        self.addCleanup(role.kill)
        self.assertEqual(fetch(role.url, "/health").status, 200)
        role.stop()
        self.assertEqual(len(re.findall(r"ready on \S+", role.log)), 2)
