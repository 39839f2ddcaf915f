"""
One real role: a ``twistd`` process, listened to, stopped, and held to what it logs.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from twisted.trial.unittest import SkipTest

import chatfiles
from tests.openapi.document import Seen
from tests.openapi.record import Record
from tests.support.fork_server import Forked
from tests.support.patience import PATIENCE

__all__ = ["Role", "arguments", "environment", "listen_on", "until"]

#: Where ``import chatfiles`` finds it: the checkout, also when it is installed editable.
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(chatfiles.__file__)))
#: Seconds; a machine that is busy with other tests may stand still for longer than the two of the
#: default, and what a test finds must not depend on that.
REGISTRY_TIMEOUT = 15.0
_READY = re.compile(r"chatfiles (?:platform|workspace) ready on ([^\s\"]+)")
#: What no role may ever write: the signs of an unexpected error, query strings, and what Twisted
#: would log about each connection.
_NEVER_LOGGED = ("Traceback", "Unhandled", "#critical]", "path=", "ing factory ")

#: The state of a listening socket in ``/proc/net/tcp``, where its second queue is the backlog.
_LISTEN = "0A"

_running: set[Role] = set()


def until(holds: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """
    Wait for something that another process does without a message.

    :raise AssertionError: it did not happen in time.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


def arguments(role: str | None, *options: str, twistd: Sequence[str] = ()) -> list[str]:
    """:return: ``twistd`` and its arguments for a role."""
    role_option = [] if role is None else [f"--role={role}"]
    return ["twistd", *twistd, "-n", "--pidfile=", "chatfiles", *role_option, *options]


def listen_on(port: int) -> str:
    """:return: the option to listen on this port of 127.0.0.1; 0 for any."""
    return f"--listen=tcp:{port}:interface=127.0.0.1"


def environment(changes: Mapping[str, str] = {}) -> dict[str, str]:
    """:return: the environment of a role, without what configures other roles."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CHATFILES_") and name != "CONFIGS_DIR"
    }
    path = os.pathsep.join(filter(None, [ROOT, kept.get("PYTHONPATH")]))
    return {**kept, "PYTHONPATH": path, **changes}


#: ``twistd``, as a command of any environment.
PYTHON = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")


class Role:
    """
    The process of a role.

    :param name: ``platform`` or ``workspace``.
    :param options: besides ``--role``.  If they are not among them, ``--listen`` is any free port
        of 127.0.0.1, and ``--registry-timeout`` is `REGISTRY_TIMEOUT`.
    :param twistd: options of twistd itself.
    :param told: additional environment variables.
    :param directory: where it runs.
    :param launch: a command that starts it, instead of all that.
    :param first: Python that its process executes before ``twistd``.
    :param within: what the command line begins with, to run it elsewhere.
    :ivar secrets: what must not be in its log.
    """

    def __init__(
        self,
        name: str,
        *options: str,
        twistd: Sequence[str] = (),
        told: Mapping[str, str] = {},
        directory: str = "/",
        launch: Sequence[str] = (),
        first: str = "",
        within: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.secrets: set[str] = set()
        self._lines: list[str] = []
        self._checked = 0
        self._news = threading.Condition()
        self._ended = False
        if not any(option.startswith("--listen") for option in options):
            options = (listen_on(0), *options)
        if name == "platform" and not any(o.startswith("--registry-timeout") for o in options):
            options = (f"--registry-timeout={REGISTRY_TIMEOUT}", *options)
        self._record = Record() if name == "platform" and not (launch or within) else None
        if self._record is not None:
            first = self._record.first + first
        with open(os.devnull) as nothing, open(self._pipe(), "wb") as theirs:
            command: Sequence[str] = arguments(name, *options, twistd=twistd)
            start: Callable[..., subprocess.Popen[bytes] | Forked] = partial(Forked, first=first)
            if launch:
                start, command = subprocess.Popen, list(launch)
            elif within:
                python, option, run = PYTHON
                command = [*within, python, option, f"{first}\n{run}", *command[1:]]
                start = subprocess.Popen
            self._process = start(
                command,
                cwd=directory,
                env=environment(told),
                stdin=nothing.fileno(),
                stdout=theirs.fileno(),
                stderr=theirs.fileno(),
            )
        _running.add(self)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._url: str | None = None
        self._listens = "--listen=none" not in options

    # -- where it is

    @property
    def url(self) -> str:
        """
        Where it listens; waits until it does.

        :raise SkipTest: nothing can connect to it.
        """
        if not self._listens:
            raise SkipTest("nothing can connect to this role")
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
        Let `memory` measure from now.

        :return: the bytes that are resident now.
        """
        with open(f"/proc/{self.pid}/clear_refs", "w") as file:
            file.write("5")
        return self.memory()

    def memory(self) -> int:
        """:return: the peak of resident bytes (``VmHWM``)."""
        with open(f"/proc/{self.pid}/status") as file:
            return int(re.findall(r"VmHWM:\s+(\d+) kB", file.read())[0]) * 1024

    def descriptors(self) -> list[str]:
        """:return: the targets of its open descriptors."""
        found = []
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(f"/proc/{self.pid}/fd/{fd}"))
        return found

    def connections(self) -> int:
        """:return: the number of its connections, with those that it has not accepted yet."""
        table = Path("/proc/net/tcp").read_text()  # first, so that none is missed
        held = {path[8:-1] for path in self.descriptors() if path.startswith("socket:")}
        waiting = 0
        for row in map(str.split, table.splitlines()[1:]):
            state, queues, inode = row[3], row[4], row[9]
            if state == _LISTEN and inode in held:
                held.discard(inode)
                waiting += int(queues.partition(":")[2], 16)
        return len(held) + waiting

    def has_unread(self) -> bool:
        """:return: whether bytes have arrived on a connection that it has not read yet."""
        held = {path[8:-1] for path in self.descriptors() if path.startswith("socket:")}
        table = Path(f"/proc/{self.pid}/net/tcp").read_text()
        rows = map(str.split, table.splitlines()[1:])
        return any(
            row[9] in held and row[3] != _LISTEN and int(row[4].partition(":")[2], 16)
            for row in rows
        )

    def waits_for_a_disk(self) -> bool:
        """:return: whether one of its threads waits for a disk (state ``D``)."""
        for stat in Path(f"/proc/{self.pid}/task").glob("*/stat"):
            with contextlib.suppress(OSError):  # a thread that has ended
                if stat.read_text().rpartition(")")[2].split()[0] == "D":
                    return True
        return False

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

    def log_since(self, mark: int) -> str:
        """:return: what has been written since."""
        with self._news:
            return "".join(self._lines[mark:])

    def logged(self, pattern: str, *, since: int = 0, seconds: float = PATIENCE) -> re.Match[str]:
        """
        Wait for a line of the log.

        :param pattern: a regular expression for a part of it.
        :param since: from `mark`.
        :raise AssertionError: it did not come in time, or the process has ended without it.
        :raise SkipTest: it is the line that says where a role listens, and this one does not.
        """
        if not self._listens and "ready on" in pattern:
            raise SkipTest("nothing can connect to this role")
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
        :raise AssertionError: what was written since the last time is not fit to be read, or a
            response of a platform is not in its OpenAPI document.
        """
        if self._record is not None:
            self._record.check()
        with self._news:
            lines, self._checked = self._lines[self._checked :], len(self._lines)
        text = "".join(lines)
        wrong = [sign for sign in (*_NEVER_LOGGED, *self.secrets) if sign in text]
        if wrong or re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text):
            raise AssertionError(f"{wrong} in the log of the {self.name}:\n{text}")

    @property
    def responses(self) -> list[Seen]:
        """Of a platform: each kind of response that it has sent."""
        assert self._record is not None
        return self._record.seen()

    # -- how it ends

    @property
    def running(self) -> bool:
        """Whether it runs."""
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
        Wait for its end after SIGTERM.

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

    def _pipe(self) -> int:
        """:return: the end that the role writes to."""
        self._output, theirs = os.pipe()
        return theirs

    def _read(self) -> None:
        with open(self._output, encoding="utf-8", errors="replace") as stream:
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
