"""
A platform for the tests of the console script: sends prepared responses, valid and broken ones.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable
from contextlib import chdir
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.cli import cli

WORKSPACE = "3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d"
TOKEN = "tok-0123456789"


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    """:return: a response as it is sent over the wire; its framing is the test's own matter."""
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + body


def counted(body: bytes, *headers: str, status: str = "200 OK", short: int = 0) -> bytes:
    """:return: a response with a Content-Length, of which the last *short* bytes are missing."""
    sent = body[: len(body) - short]
    return answer(status, f"Content-Length: {len(body)}", *headers, body=sent)


def said(status: str, value: object, *headers: str) -> bytes:
    """:return: a response in JSON."""
    body = json.dumps(value).encode()
    return counted(body, "Content-Type: application/json", *headers, status=status)


class Asked:
    """A request that the stub received."""

    def __init__(self, method: str, target: str, headers: Message, body: bytes) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline()
        if not self.raw_requestline or not self.parse_request():
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.asked.append(Asked(self.command, self.path, self.headers, body))
        for piece in self.server.answers.pop(0):
            if callable(piece):
                piece()
            else:
                self.wfile.write(piece)
                self.wfile.flush()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing."""


class _Server(HTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[Asked] = []
        self.answers: list[Iterable[Any]] = []


class StubCase(SynchronousTestCase):
    """Runs the console script in an empty directory against the stub."""

    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="chatfiles-test-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.server = _Server()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(self.server.shutdown)
        self.write("token", TOKEN + "\n")

    @property
    def asked(self) -> list[Asked]:
        return self.server.asked

    def play(self, *answers: bytes | Iterable[Any]) -> None:
        """
        Send these responses to the next requests.

        An iterable is sent piece by piece; callables in it are called.
        """
        self.server.answers += [[a] if isinstance(a, bytes) else a for a in answers]

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def write(self, name: str, text: str, mode: int = 0o600) -> None:
        with open(self.path(name), "w") as file:
            file.write(text)
        os.chmod(self.path(name), mode)

    def read(self, name: str) -> bytes:
        with open(self.path(name), "rb") as file:
            return file.read()

    def files(self) -> list[str]:
        """:return: the names of the files in the directory, except the token's."""
        return sorted(set(os.listdir(self.directory)) - {"token"})

    def invoke(self, *words: str, env: dict[str, str] | None = None, **more: Any) -> Result:
        """Run ``chatfiles`` with *words* in the test's directory."""
        clean = {name: None for name in os.environ if name.startswith("CHATFILES_")}
        state = {"XDG_STATE_HOME": self.path(".state")}
        environment = {**clean, **state, "CHATFILES_PLATFORM": self.url, **(env or {})}
        with chdir(self.directory):
            return CliRunner().invoke(cli, words, env=environment, **more)

    def get(self, path: str, *words: str, **more: Any) -> Result:
        """Run ``chatfiles get`` with the test's token."""
        return self.invoke("get", "--token-file", "token", WORKSPACE, path, *words, **more)

    def ended(self, result: Result, status: int, *texts: str) -> None:
        """Assert the exit status, and that standard error contains *texts*."""
        self.assertEqual(result.exit_code, status, result.output)
        for text in texts:
            self.assertIn(text, result.stderr)
        self.assertNotIn(TOKEN, result.output)
