"""
A platform to which workspaces connect by themselves, written from the manual alone: bare
sockets, threads, and nothing of chatfiles.
"""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import ssl
import threading
from typing import Any

from tests.live.rawhttp import Answer, Fields, Response
from tests.support.patience import PATIENCE
from tests.support.ports import free_port

__all__ = ["SECRET", "UPGRADED", "FakePlatform", "refusal"]

SECRET = "inbound-" + "s" * 35
UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: ptth\r\n"
    b"ALPN: http%2F1.1\r\nChatfiles-Node: 5f0f1f0c-9b4e-4a43-9d0e-3a8f5f4b7f10\r\n\r\n"
)
HOST = "workspace.invalid"


def refusal(status: int, code: str, text: str = "no", *lines: str) -> bytes:
    """:return: an error of the platform."""
    body = json.dumps({"error": text, "code": code}).encode()
    fields = "".join(f"{line}\r\n" for line in lines)
    return f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body


class FakePlatform:
    """
    Registers workspaces, and takes their connections.

    :param tls: how it speaks TLS; ``None`` for none.
    :ivar answers: responses to the next requests for an upgrade; without any, the last of
        `always`.
    :ivar always: the response to all others.
    :ivar upgrades: request lines and headers of the requests for an upgrade.
    :ivar registrations: bodies of registrations.
    :ivar parked: connections that are parked, in order.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.always = UPGRADED
        self.answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.upgrades: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
        self.registrations: list[dict[str, Any]] = []
        self.parked: queue.Queue[Parked] = queue.Queue()
        self._sockets: set[socket.socket] = set()
        self.port = free_port()
        self.listen()

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def listen(self) -> None:
        """Accept connections, at the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """Accept no connections any more, and close all."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._sockets):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def take(self) -> Parked:
        """:return: the next parked connection."""
        return self.parked.get(timeout=PATIENCE)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._greet, args=(connection,), daemon=True).start()

    def _greet(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._sockets.add(connection)
            self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1) or _nothing()
        lines = head.decode().split("\r\n")[:-2]
        if lines[0].startswith("GET "):
            return self._upgrade(connection, lines)
        fields = dict(line.lower().split(": ", 1) for line in lines[1:])
        body = b""
        while len(body) < int(fields["content-length"]):
            body += connection.recv(65536) or _nothing()
        if "/registry/register" in lines[0]:
            self.registrations.append(json.loads(body))
        reply = json.dumps({"status": "ok", "platform_inbound_secret": SECRET}).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(reply), reply))
        return self._serve(connection)

    def _upgrade(self, connection: socket.socket, lines: list[str]) -> None:
        self.upgrades.put(lines)
        try:
            answer = self.answers.get_nowait()
        except queue.Empty:
            answer = self.always
        connection.sendall(answer)
        if answer.startswith(b"HTTP/1.1 101"):
            self.parked.put(Parked(connection))


class Parked:
    """A connection on which the platform sends requests."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        self.socket = connection
        self._buffer = bytearray()

    def send(
        self, target: str, fields: Fields = (), body: bytes = b"", method: str = "GET"
    ) -> None:
        """Send a request."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}"]
        lines += [f"{name}: {value}" for name, value in dict(fields).items()]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def answer(self, method: str = "GET") -> Answer:
        """:return: the next response, whose body is still to be read."""
        return Answer(self.socket.recv, self._buffer, method)

    def ask(self, target: str, fields: Fields = (), method: str = "GET") -> Response:
        """:return: the response to a request without a body."""
        self.send(target, fields, method=method)
        return self.response(method)

    def response(self, method: str = "GET") -> Response:
        """:return: the next response."""
        answer = self.answer(method)
        answer.head.body = answer.rest()
        return answer.head

    def until_first_line(self) -> bytes:
        """:return: the first line that the workspace sends; less if it closes the connection."""
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while not data.endswith(b"\r\n") and (more := self.socket.recv(1)):
                data += more
        return data.removesuffix(b"\r\n")

    def until_closed(self) -> bytes:
        """:return: what the workspace still sends, until it closes the connection."""
        data = bytes(self._buffer)
        with contextlib.suppress(ConnectionResetError):
            while more := self.socket.recv(65536):
                data += more
        return data


def _nothing() -> bytes:
    raise ValueError("the connection was closed")
