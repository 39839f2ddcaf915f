"""
Real roles for the live tests: started as ``twistd`` processes, listened to, stopped, and held to
what they log.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

import chatfiles
from tests.live.rawhttp import PATIENCE, Connection, Fields, Response, fetch

__all__ = [
    "LONG_AGO",
    "SOAK",
    "ImpatientCase",
    "LiveCase",
    "Pair",
    "Role",
    "canary",
    "command",
    "environment",
    "lines_of",
    "quoted",
    "until",
]

#: Whether the long variants run too.
SOAK = os.environ.get("CHATFILES_SOAK") == "1"

#: When files were modified, so that their validators are strong: seconds since the epoch.
LONG_AGO = 1_600_000_000
#: What the workspace of most tests denies besides.
DENIED_GLOBS = ("/home/*/.ssh/**", "/workspace/**/*.key")
#: Where ``import chatfiles`` finds it: the checkout, also when it is installed editable.
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(chatfiles.__file__)))
# The first statement ends the role when trial is killed (PR_SET_PDEATHSIG, SIGKILL).
_LAUNCH = (
    "import ctypes; ctypes.CDLL(None).prctl(1, 9); from twisted.scripts.twistd import run; run()"
)
_READY = re.compile(r"chatfiles (?:platform|workspace) ready on (\S+)")
#: What no role may ever write: the signs of an error that nobody foresaw, and query strings.
_NEVER_LOGGED = ("Traceback", "Unhandled", "#critical]", "path=")

_running: set[Role] = set()


def until(holds: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """
    Wait for something that another process does and does not tell.

    :raise AssertionError: it did not happen in time.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


def quoted(path: str | bytes) -> str:
    """:return: *path* as the value of a query, everything escaped that may be."""
    return quote(path, safe="/")


def command(role: str | None, *options: str, twistd: Sequence[str] = ()) -> list[str]:
    """:return: what starts a role."""
    role_option = [] if role is None else [f"--role={role}"]
    return [
        *(sys.executable, "-P", "-c", _LAUNCH, *twistd, "-n", "--pidfile="),
        *("chatfiles", *role_option, *options),
    ]


def environment(changes: Mapping[str, str] = {}) -> dict[str, str]:
    """:return: what a role is told besides: nothing that configures somebody else's roles."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CHATFILES_") and name != "CONFIGS_DIR"
    }
    path = os.pathsep.join(filter(None, [ROOT, kept.get("PYTHONPATH")]))
    return {**kept, "PYTHONPATH": path, **changes}


class Role:
    """
    A process.

    :param name: ``platform`` or ``workspace``.
    :param options: besides ``--role`` and ``--listen``, which is any free port of 127.0.0.1 unless
        it is among them.
    :param twistd: options of twistd itself.
    :param told: more environment.
    :param directory: where it runs.
    :ivar secrets: what must not be in its log.
    """

    def __init__(
        self,
        name: str,
        *options: str,
        twistd: Sequence[str] = (),
        told: Mapping[str, str] = {},
        directory: str = "/",
    ) -> None:
        self.name = name
        self.secrets: set[str] = set()
        self._lines: list[str] = []
        self._checked = 0
        self._news = threading.Condition()
        self._ended = False
        if not any(option.startswith("--listen") for option in options):
            options = ("--listen=tcp:0:interface=127.0.0.1", *options)
        self._process = subprocess.Popen(
            command(name, *options, twistd=twistd),
            cwd=directory,
            env=environment(told),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        _running.add(self)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._url: str | None = None

    # -- where it is

    @property
    def url(self) -> str:
        """Where it listens; waits until it does."""
        if self._url is None:
            self._url = self.logged(_READY.pattern)[1]
        return self._url

    @property
    def port(self) -> int:
        """The port of it."""
        return int(self.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def forget_peak(self) -> int:
        """
        Let `memory` begin anew.

        :return: the octets that are resident now.
        """
        with open(f"/proc/{self.pid}/clear_refs", "w") as file:
            file.write("5")
        return self.memory()

    def memory(self) -> int:
        """:return: the most octets that have been resident at once (``VmHWM``)."""
        with open(f"/proc/{self.pid}/status") as file:
            return int(re.findall(r"VmHWM:\s+(\d+) kB", file.read())[0]) * 1024

    def descriptors(self) -> list[str]:
        """:return: what its open descriptors name."""
        found = []
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(f"/proc/{self.pid}/fd/{fd}"))
        return found

    # -- what it says

    @property
    def log(self) -> str:
        """All that it has written so far."""
        with self._news:
            return "".join(self._lines)

    def mark(self) -> int:
        """:return: where the log is now, for `logged`."""
        with self._news:
            return len(self._lines)

    def logged(self, pattern: str, *, since: int = 0, seconds: float = PATIENCE) -> re.Match[str]:
        """
        Wait for a line of the log.

        :param pattern: a regular expression for a part of it.
        :param since: from `mark`.
        :raise AssertionError: it did not come in time, or the process has ended without it.
        """
        deadline = time.monotonic() + seconds
        compiled = re.compile(pattern)
        with self._news:
            while True:
                for line in self._lines[since:]:
                    if match := compiled.search(line):
                        return match
                since = len(self._lines)
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    text = "".join(self._lines)
                    raise AssertionError(f"no {pattern!r} in the log of the {self.name}:\n{text}")
                self._news.wait(left)

    def check_log(self) -> None:
        """
        :raise AssertionError: what was written since the last time is not fit to be read.
        """
        with self._news:
            lines, self._checked = self._lines[self._checked :], len(self._lines)
        text = "".join(lines)
        wrong = [sign for sign in (*_NEVER_LOGGED, *self.secrets) if sign in text]
        if wrong or re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text):
            raise AssertionError(f"{wrong} in the log of the {self.name}:\n{text}")

    # -- how it ends

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def signal(self, signum: int) -> None:
        """Send it a signal."""
        self._process.send_signal(signum)

    def wait(self, seconds: float = PATIENCE) -> int:
        """:return: its exit status, once it has ended and its log is read."""
        status = self._process.wait(seconds)
        self._reader.join(seconds)
        _running.discard(self)
        return status

    def stop(self) -> None:
        """
        Stop it as a service manager does.

        :raise AssertionError: it failed, or wrote what it must not.
        """
        self.signal(signal.SIGTERM)
        self.ended_well()

    def ended_well(self, seconds: float = 2 * PATIENCE) -> None:
        """
        Wait for the end of one that was told to stop.

        :raise AssertionError: it failed, or wrote what it must not.
        """
        status = self.wait(seconds)
        self.check_log()
        if status != 0:
            raise AssertionError(f"the {self.name} ended with {status}:\n{self.log}")

    def kill(self) -> None:
        """Make sure that it has ended."""
        self._process.kill()
        self.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                with self._news:
                    self._lines.append(line)
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


@atexit.register
def _kill_what_is_left() -> None:
    for role in list(_running):
        role.kill()


class Pair:
    """
    A platform, and a workspace with directories of its own that the platform reaches.

    :param both: options of both roles.
    :param platform: options of the platform.
    :param workspace: options of the workspace.
    :param uid: the user that the workspace runs as; only root can say.
    :ivar base: a directory of its own; the roots are in it, by their names.
    :ivar token: an auth token of the workspace.
    :ivar roles: what is stopped with the pair.
    """

    def __init__(
        self,
        both: Sequence[str] = (),
        platform: Sequence[str] = (),
        workspace: Sequence[str] = (),
        uid: int | None = None,
    ) -> None:
        self._uid = uid
        self.base = os.path.realpath(tempfile.mkdtemp(prefix="chatfiles-live-"))
        os.chmod(self.base, 0o755)
        self.state = os.path.join(self.base, "state")
        self.secret = ""
        roots = []
        for root in ("workspace", "configs", "home", "plugins"):
            os.mkdir(self.at(root))
            roots.append(f"--root=/{root}={self.at(root)}")
        self.platform = Role(
            "platform",
            f"--state-dir={self.state}",
            "--upstream-allow=127.0.0.0/8",
            *both,
            *platform,
        )
        twistd = [] if uid is None else [f"--uid={uid}", f"--gid={uid}"]
        self.workspace = Role("workspace", *roots, *both, *workspace, twistd=twistd)
        self.roles = [self.platform, self.workspace]
        try:
            self._enrol()
        except BaseException:
            self.discard()
            raise

    def _enrol(self) -> None:
        assert self.platform.url, "it listens, so there is an admin token"
        with open(os.path.join(self.state, "admin-token")) as file:
            self.admin = file.read().strip()
        self.id, self.token = self.add(self.workspace.url)
        body = json.dumps({"id": self.id, "url": self.workspace.url}).encode()
        answer = fetch(
            self.platform.url,
            "/registry/register",
            {"Authorization": f"Bearer {self.token}"},
            method="POST",
            body=body,
        )
        self.keep_secret(answer.json["platform_inbound_secret"])
        self.hide(self.admin)

    # -- what there is

    def at(self, *names: str) -> str:
        """:return: a path below `base`."""
        return os.path.join(self.base, *names)

    @property
    def database(self) -> str:
        """The file of the registry."""
        return os.path.join(self.state, "registry.db")

    @property
    def secret_file(self) -> str:
        """Where the workspace finds its inbound secret."""
        return self.at("configs", ".platform_inbound_secret")

    def hide(self, *values: str) -> None:
        """Let neither role log these."""
        for role in self.roles:
            role.secrets.update(value for value in values if value)

    def keep_secret(self, secret: str) -> None:
        """Give the workspace a new inbound secret."""
        self.secret = secret
        self.hide(secret)
        temporary = self.secret_file + ".new"
        with open(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(secret)
        if self._uid is not None:
            os.chown(temporary, self._uid, self._uid)
        os.rename(temporary, self.secret_file)

    def write(self, name: str | bytes, content: bytes = b"") -> bytes:
        """
        Make a file of the workspace, last modified long ago.

        :param name: below `base`, such as ``workspace/a.txt``.
        :return: its path.
        """
        path = os.path.join(os.fsencode(self.base), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        os.utime(path, (LONG_AGO, LONG_AGO))
        return path

    def add(self, url: str | None, **more: object) -> tuple[str, str]:
        """:return: the id and token of another workspace that the platform knows."""
        body = json.dumps({"name": "live", **({"url": url} if url else {}), **more}).encode()
        answer = self.as_admin("POST", "/workspaces", body)
        if answer.status != 201:
            raise AssertionError(f"{answer.status}: {answer.body!r}")
        made = answer.json
        self.hide(made["auth_token"])
        return made["id"], made["auth_token"]

    # -- what can be asked

    def as_admin(self, method: str, target: str, body: bytes | None = None) -> Response:
        """:return: the platform's answer to the admin."""
        admin = {"Authorization": f"Bearer {self.admin}"}
        return fetch(self.platform.url, target, admin, method=method, body=body)

    def hops(self, query: str | bytes) -> list[tuple[str, Role, bytes, dict[str, str]]]:
        """
        :param query: the whole query string.
        :return: both ways to a file: a name for it, whom to ask, for what, and the credential.
        """
        raw = query if isinstance(query, bytes) else query.encode("ascii")
        return [
            ("direct", self.workspace, b"/internal/file/read?" + raw, self.inbound),
            ("through", self.platform, self.download_target(raw), self.bearer),
        ]

    def download_target(self, query: bytes) -> bytes:
        """:return: the platform's download route."""
        return b"/workspaces/%s/chat/download?%s" % (self.id.encode(), query)

    @property
    def inbound(self) -> dict[str, str]:
        """The platform's credential."""
        return {"Authorization": f"Bearer {self.secret}"}

    @property
    def bearer(self) -> dict[str, str]:
        """A caller's credential."""
        return {"Authorization": f"Bearer {self.token}"}

    def get(
        self, query: str | bytes, fields: Fields = (), method: str = "GET"
    ) -> dict[str, Response]:
        """:return: the answers of both ways."""
        more = dict(fields)
        return {
            name: fetch(role.url, target, {**credential, **more}, method=method)
            for name, role, target, credential in self.hops(query)
        }

    def file(self, path: str | bytes, fields: Fields = ()) -> dict[str, Response]:
        """:return: the answers of both ways to a path."""
        return self.get("path=" + quoted(path), fields)

    # -- how it ends

    def stop(self) -> None:
        """See `Role.stop`."""
        try:
            for role in self.roles:
                role.signal(signal.SIGTERM)
            for role in self.roles:
                role.ended_well()
        finally:
            self.discard()

    def check_logs(self) -> None:
        """See `Role.check_log`."""
        for role in self.roles:
            role.check_log()

    def discard(self) -> None:
        """Leave nothing."""
        for role in self.roles:
            role.kill()
        shutil.rmtree(self.base, ignore_errors=True)


class LiveCase(SynchronousTestCase):
    """
    Tests that share their processes with all others whose `make_pair` is the same.

    They are started for the first of the tests that are to be run and stopped behind the last, in
    whose name it fails if they do not end well (trial knows no ``setUpClass``).  A test that is not
    to be run must raise ``SkipTest`` itself.

    :ivar pair: what `make_pair` made.
    """

    _to_run: ClassVar[dict[object, set[tuple[type, str]]]] = {}
    _pairs: ClassVar[dict[object, Pair | BaseException]] = {}
    _prepared: ClassVar[dict[type, Pair]] = {}
    pair: Pair

    def __init__(self, methodName: str = "runTest") -> None:
        super().__init__(methodName)
        self._key: object = type(self).make_pair.__func__  # type: ignore[attr-defined]
        self._to_run.setdefault(self._key, set()).add((type(self), methodName))

    @classmethod
    def make_pair(cls) -> Pair:
        """:return: what the tests work with."""
        return Pair(workspace=[f"--deny={glob}" for glob in DENIED_GLOBS])

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        """Make what the tests of this class find in *pair*; called once."""

    def setUp(self) -> None:
        self.addCleanup(self._leave)
        pair = self._pairs.get(self._key)
        if isinstance(pair, Pair) and not all(role.running for role in pair.roles):
            pair.discard()  # whose fault that is has been told
            pair = None
        if pair is None:
            pair = self._pairs[self._key] = self._start()
        if isinstance(pair, BaseException):
            raise pair
        self.pair = pair
        if self._prepared.get(type(self)) is not pair:
            self._prepared[type(self)] = pair
            self.prepare(pair)

    def _start(self) -> Pair | BaseException:
        try:
            return self.make_pair()
        except BaseException as error:
            return error

    def _leave(self) -> None:
        self._to_run[self._key].discard((type(self), self._testMethodName))
        pair = self._pairs.get(self._key)
        if not isinstance(pair, Pair):
            return
        if self._to_run[self._key]:
            pair.check_logs()
        else:
            del self._pairs[self._key]
            pair.stop()

    # -- what is asked of many answers

    def assert_error(
        self, answer: Response, status: int, text: str, about: object = "", code: str | None = None
    ) -> dict[str, Any]:
        """
        The answer is an error of the shape that CONTRACT 4 gives.

        :return: its JSON.
        """
        self.assertEqual((answer.status, answer.json.get("error")), (status, text), about)
        body: dict[str, Any] = answer.json
        self.assertRegex(body["code"], r"\A[a-z0-9_]+\Z", about)
        if code is not None:
            self.assertEqual(body["code"], code, about)
        self.assertEqual(body["request_id"], answer["x-request-id"], about)
        known = {"error", "code", "request_id", "detail", "retry_after_seconds"}
        self.assertEqual(set(body) - known, set(), about)
        if "retry_after_seconds" in body:
            self.assertEqual(answer["retry-after"], str(body["retry_after_seconds"]), about)
        if status == 401:
            self.assertEqual(answer["www-authenticate"], "Bearer", about)
        return body

    def assert_both(self, answers: dict[str, Response], check: Callable[[Response], None]) -> None:
        """Apply *check* to the answers of both ways."""
        self.assertEqual(set(answers), {"direct", "through"})
        for answer in answers.values():
            check(answer)

    def connect(self, role: Role, **more: Any) -> Connection:
        """:return: a connection that is closed with the test."""
        connection = Connection(role.url, **more)
        self.addCleanup(connection.close)
        return connection


class ImpatientCase(LiveCase):
    """Tests with roles that wait 1 s for a head, and for progress."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(both=["--header-timeout=1", "--idle-timeout=1"])


def canary() -> str:
    """:return: a word that occurs nowhere else."""
    return "canary-" + secrets.token_hex(16)


def lines_of(fields: Iterable[tuple[str, str]], *without: str) -> list[tuple[str, str]]:
    """:return: header fields that do not differ between two answers to the same question."""
    changing = {"date", "x-request-id", "connection", *without}
    return sorted(field for field in fields if field[0] not in changing)
