"""
Starts ``twistd`` and ``chatfiles`` quickly: forks them from a process that has imported them.

Python and its imports take most of the time of a test that starts a process.  A forked program is a
process like any other: it has its own arguments, environment, directory and streams, runs the same
function as the installed script, and ends as Python ends.  Tests of imports, of closed streams and
of memory start Python itself.

So are the workers of a role: a server that its process forks before it becomes the role forks them,
and they become children of the role (``PR_SET_CHILD_SUBREAPER`` of prctl(2)).

This file is also the program of the server.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

__all__ = ["EXECUTE_WORKERS", "FORKS_WORKERS", "Forked", "run"]

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_NUMBER = struct.Struct("=i")
_MAX_REQUEST = 1 << 20
_MAX_FDS = 64
#: Descriptors of a request are below it.
_HIGH = 256
_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 15, 36
#: The name of the process that forks the workers of a role.
FORKS_WORKERS = "forks workers"
#: For `Forked`: the role starts its workers as usual.
EXECUTE_WORKERS = "import os; os.posix_spawnp = os.posix_spawnp.args[0]\n"


class Forked:
    """
    A program that runs.  The methods are those of `subprocess.Popen`.

    :param words: the program, ``twistd`` or ``chatfiles``, and its arguments.
    :param stdin: a descriptor.
    :param stdout: a descriptor.
    :param stderr: a descriptor.
    :param first: Python that the process executes before the program.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        stdin: int,
        stdout: int,
        stderr: int,
        first: str = "",
    ) -> None:
        self._words = list(words)
        self._lock = threading.Lock()
        self.returncode: int | None = None
        request = {
            "words": self._words,
            "cwd": cwd,
            "env": dict(env),
            "first": first,
            "targets": [0, 1, 2],
            "forks_workers": True,
        }
        self._status, theirs = os.pipe()
        # Not before: another thread may be waiting for it.
        weakref.finalize(self, os.close, self._status)
        try:
            message = json.dumps(request).encode()
            socket.send_fds(_server()[1], [message], [stdin, stdout, stderr, theirs])
        finally:
            os.close(theirs)
        self.pid = self._number()

    def poll(self) -> int | None:
        """:return: the exit status, or None while it runs; a signal is negative."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """
        :param timeout: seconds.
        :return: the exit status.
        :raise subprocess.TimeoutExpired: it still runs.
        """
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self._words, timeout or 0)
        return status

    def send_signal(self, signum: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        poll = select.poll()
        poll.register(self._status, select.POLLIN)
        if self.returncode is None and poll.poll(None if timeout is None else timeout * 1000):
            with self._lock:  # of several threads that wait, one reads
                if self.returncode is None:
                    self.returncode = self._number()
        return self.returncode

    def _number(self) -> int:
        data = os.read(self._status, _NUMBER.size)
        if not data:
            raise AssertionError("the fork server has ended")
        number: int
        (number,) = _NUMBER.unpack(data)
        return number


def run(
    words: Sequence[str],
    *,
    cwd: str,
    env: Mapping[str, str],
    timeout: float,
    stdin: bytes = b"",
    first: str = "",
) -> subprocess.CompletedProcess[bytes]:
    """
    :param words: see `Forked`; so are *cwd*, *env* and *first*.
    :param timeout: seconds.
    :param stdin: what comes through the pipe of standard input.
    :return: the result of a program that ends by itself.
    :raise subprocess.TimeoutExpired: it was killed, because it did not.
    """
    with (
        open(_piped(stdin), "rb") as given,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
    ):
        streams = {"stdin": given.fileno(), "stdout": stdout.fileno(), "stderr": stderr.fileno()}
        process = Forked(words, cwd=cwd, env=env, first=first, **streams)
        try:
            status = process.wait(timeout)
        finally:
            process.kill()
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(words, status, stdout.read(), stderr.read())


def _piped(data: bytes) -> int:
    """:return: the end of a pipe that *data* comes from."""
    theirs, ours = os.pipe()

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), open(ours, "wb", buffering=0) as pipe:
            rest = memoryview(data)
            while rest:
                rest = rest[pipe.write(rest) :]

    threading.Thread(target=write, daemon=True).start()
    return theirs


@cache
def _server() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """:return: the server of this process, with which it ends, and the connection to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CHATFILES_")}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", os.path.abspath(__file__), str(theirs.fileno())],
            cwd="/",
            env=environment | {"PYTHONPATH": _ROOT},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    return process, ours


# -- in the server


def _programs() -> dict[str, Callable[[], None]]:
    """:return: the functions of the installed scripts; what they import is imported now."""
    from twisted.application.service import IServiceMaker  # noqa: PLC0415
    from twisted.plugin import getPlugins  # noqa: PLC0415
    from twisted.scripts import twistd  # noqa: PLC0415

    import chatfiles.cli  # noqa: PLC0415

    for name in (
        "chatfiles.tap",
        "chatfiles.platform.service",
        "chatfiles.workspace.service",
        "chatfiles.cli.commands.digest",
        "chatfiles.cli.commands.get",
        "chatfiles.cli.commands.ls",
        "chatfiles.cli.commands.put",
        "chatfiles.cli.commands.registry",
        "chatfiles.cli.commands.stat",
        "chatfiles.cli.transfers.archive.transfer",
        "chatfiles.cli.transfers.tree.transfer",
        "twisted.internet.epollreactor",
        "twisted.scripts._twistd_unix",
    ):
        __import__(name)
    list(getPlugins(IServiceMaker))
    # Each program installs its own: a reactor's epoll descriptor cannot be shared.
    assert "twisted.internet.reactor" not in sys.modules
    return {"twistd": twistd.run, "chatfiles": chatfiles.cli.main}


def _serve(connection: socket.socket, adopted: bool = False) -> tuple[dict[str, Any], list[int]]:
    """
    :param adopted: whether the new processes become children of a process above this one.
    :return: in a new process only: what to become, and its streams.
    """
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    woken.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno())
    running: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([connection, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            _reap(running)
        if connection not in ready:
            continue
        message, fds, _, _ = socket.recv_fds(connection, _MAX_REQUEST, _MAX_FDS)
        if not message:
            sys.exit()
        pid = os.fork()
        if adopted:
            pid = _adopted(pid, fds[-1])
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for stream in (connection, woken, wake):
                stream.close()
            for status in (*running.values(), fds.pop()):
                os.close(status)
            return json.loads(message), fds
        if not adopted:
            running[pid] = fds.pop()
            os.write(running[pid], _NUMBER.pack(pid))
        for fd in fds:
            os.close(fd)


def _adopted(pid: int, status: int) -> int:
    """Fork again and end, so that the new process loses its parent.  :return: as `os.fork`."""
    if pid != 0:
        os.waitpid(pid, 0)
        return pid
    if (pid := os.fork()) != 0:
        os.write(status, _NUMBER.pack(pid))
        os._exit(0)
    return 0


def _reap(running: dict[int, int]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        fd = running.pop(pid)
        os.write(fd, _NUMBER.pack(os.waitstatus_to_exitcode(status)))
        os.close(fd)


def _become(wanted: dict[str, Any], fds: list[int]) -> str:
    """Turn this process into what is *wanted*.  :return: the name of the program."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH) for fd in fds]
    for fd in fds:
        os.close(fd)
    for target, fd in zip(wanted["targets"], high, strict=True):
        os.dup2(fd, target)
        os.close(fd)
    sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())  # type: ignore[union-attr]
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["env"])
    sys.argv = wanted["words"]
    if wanted["forks_workers"] and any(word.startswith("--workers=") for word in sys.argv):
        _fork_workers()
    exec(wanted["first"], {})
    return str(sys.argv[0])


def _prctl(option: int, value: object) -> None:
    ctypes.CDLL(None).prctl(option, value)


# -- workers


def _fork_workers() -> None:
    """Start the server that forks the workers of this role."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    if os.fork() == 0:
        ours.close()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _prctl(_PR_SET_NAME, FORKS_WORKERS.encode())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with open(os.devnull, "r+b") as nothing:
            for fd in range(3):
                os.dup2(nothing.fileno(), fd)
        become = _serve(theirs, adopted=True)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _prctl(_PR_SET_NAME, b"python")
        programs[_become(*become)]()
        sys.exit()
    theirs.close()
    os.posix_spawnp = partial(_spawn_worker, os.posix_spawnp, ours)


def _spawn_worker(
    real: Callable[..., int],
    connection: socket.socket,
    executable: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    file_actions: Sequence[tuple[int, ...]] = (),
    **more: Any,
) -> int:
    """In place of `os.posix_spawnp`, which Twisted uses."""
    if list(arguments[1:3]) != ["-P", "-c"]:
        return real(executable, arguments, environment, file_actions=file_actions, **more)
    sources: dict[int, int] = {}
    for action, fd, *target in file_actions:
        if action == os.POSIX_SPAWN_DUP2:
            sources[target[0]] = sources.get(fd, fd)
        else:
            sources.pop(fd, None)
    request = {
        "words": ["twistd", *arguments[4:]],
        "cwd": os.getcwd(),
        "env": dict(environment),
        "first": "",
        "targets": list(sources),
        "forks_workers": False,
    }
    status, theirs = os.pipe()
    with open(status, "rb") as stream:
        socket.send_fds(connection, [json.dumps(request).encode()], [*sources.values(), theirs])
        os.close(theirs)
        number: int
        (number,) = _NUMBER.unpack(stream.read())  # to its end, when the worker is our child
    return number


if __name__ == "__main__":
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    programs = _programs()
    gc.collect()
    gc.freeze()  # the collector writes to what it looks at, which would copy it in each process
    with socket.socket(fileno=int(sys.argv[1])) as control:
        become = _serve(control)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    programs[_become(*become)]()
