"""
A real nginx or HAProxy, with the configuration that the documentation shows.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence

from twisted.trial.unittest import SkipTest

from tests.live.role import ROOT, until
from tests.support.patience import PATIENCE

__all__ = ["EXAMPLES", "KINDS", "Balancer", "binary"]

KINDS = ("nginx", "haproxy")
#: The examples of the manual; their platforms are ``platform-1:8080`` and ``platform-2:8080``.
EXAMPLES = os.path.join(ROOT, "docs", "several-nodes")
_FILES = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}
_LISTEN = {"nginx": "    listen 80;\n", "haproxy": "    bind :80\n"}

#: What a distribution puts around the files of conf.d.
_NGINX = """\
daemon off;
{user}worker_processes 1;
error_log stderr info;
pid {directory}/nginx.pid;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/nginx.conf;
}}
"""

# Only root can run nginx as another user.
_USER = "user nobody nogroup;\n" if os.geteuid() == 0 else ""

_running: set[Balancer] = set()


def binary(kind: str) -> str:
    """
    :return: the path of the program.
    :raise SkipTest: it is not installed.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(kind, path=path)
    if found is None:
        raise SkipTest(f"{kind} is not installed: apt install {kind}")
    return found


def configuration(kind: str, port: int, nodes: Sequence[str], changes: Mapping[str, str]) -> str:
    """
    :param nodes: what replaces ``platform-1:8080`` and ``platform-2:8080``; the line of a missing
        node is removed.
    :param changes: further replacements; each of the keys has to occur.
    :return: the example with these changes.
    """
    with open(os.path.join(EXAMPLES, _FILES[kind])) as file:
        text = file.read()
    listen = f"listen 127.0.0.1:{port};" if kind == "nginx" else "bind fd@${CHATFILES_TEST_FD}"
    replaced = {_LISTEN[kind]: f"    {listen}\n", **changes}
    for number in (1, 2):
        name = f"platform-{number}:8080"
        if number <= len(nodes):
            replaced[name] = nodes[number - 1]
        else:
            [line] = re.findall(rf"^ *server .*{name}.*\n", text, re.MULTILINE)
            replaced[line] = ""
    for before, after in replaced.items():
        if before not in text:
            raise AssertionError(f"{before!r} is not in the {kind} example")
        text = text.replace(before, after)
    return text


class Balancer:
    """
    A process that listens on a free port of 127.0.0.1.

    :param kind: ``nginx`` or ``haproxy``.
    :param nodes: ``HOST:PORT`` of one or two platforms.
    :param changes: see `configuration`.
    """

    def __init__(self, kind: str, nodes: Sequence[str], changes: Mapping[str, str] = {}) -> None:
        program = binary(kind)
        self.kind = kind
        self._lines: list[str] = []
        self._directory = tempfile.mkdtemp(prefix=f"chatfiles-{kind}-")
        # It inherits the socket: the port cannot be taken meanwhile, and tests need not wait.
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
            port = listener.getsockname()[1]
            if kind == "nginx":
                changes = {"/var/log/nginx": self._directory, **changes}
            self.url = f"http://127.0.0.1:{port}"
            self._write(_FILES[kind], configuration(kind, port, nodes, changes))
            if kind == "nginx":
                main = self._write(
                    "main.conf", _NGINX.format(directory=self._directory, user=_USER)
                )
                command = [program, "-p", self._directory, "-c", main]
            else:
                command = [program, "-db", "-f", os.path.join(self._directory, _FILES[kind])]
            fd = str(listener.fileno())
            self._process = subprocess.Popen(
                command,
                env={"NGINX": f"{fd};", "CHATFILES_TEST_FD": fd},
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - calls one C function
            )
        _running.add(self)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def log(self) -> str:
        """All that it has logged so far, requests included."""
        lines = list(self._lines)
        for name in ("chatfiles.log", "error.log") if self.kind == "nginx" else ():
            with open(os.path.join(self._directory, name)) as file:
                lines += file
        return "".join(lines)

    def logged(self, pattern: str, seconds: float = PATIENCE) -> None:
        """Wait until its log matches *pattern*."""
        until(lambda: re.search(pattern, self.log), f"{pattern} in:\n{self.log}", seconds)

    def stop(self) -> None:
        """
        End it.

        :raise AssertionError: it had ended by itself.
        """
        if self._process.poll() is not None:
            said = "".join(self._lines)
            raise AssertionError(f"{self.kind} ended with {self._process.returncode}:\n{said}")
        self._process.send_signal(signal.SIGTERM)
        self.kill(PATIENCE)

    def kill(self, patience: float = 0.0) -> None:
        """Make sure that it has ended, and remove its files."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(PATIENCE)
        _running.discard(self)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _write(self, name: str, text: str) -> str:
        path = os.path.join(self._directory, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            self._lines.extend(stream)


def _die_with_parent() -> None:
    # Not SIGKILL: nginx has to end its worker.
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


@atexit.register
def _kill_what_is_left() -> None:
    for balancer in list(_running):
        balancer.kill()
