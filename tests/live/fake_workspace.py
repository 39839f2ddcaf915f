"""
A workspace that connects to its platform by itself, written from reference/channel alone: bare
sockets, threads, and nothing of chatfiles.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from tests.live.rawhttp import Response, fetch
from tests.support.patience import PATIENCE

__all__ = ["FakeWorkspace", "Request", "answer", "upgrade"]

#: The request line and headers of a request, and its body.
Request = tuple[list[str], dict[str, str], bytes]
JSON = "Content-Type: application/json"
#: It makes another connection when a request arrives, if it has fewer that are parked.
PARKED = 4
UPGRADE = {"Connection": "upgrade", "Upgrade": "ptth", "ALPN": "http%2F1.1"}


def answer(status: str, body: bytes, *lines: str) -> bytes:
    """:return: a response."""
    fields = "".join(f"{line}\r\n" for line in lines)
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{fields}\r\n"
    return head.encode() + body


def upgrade(
    url: str, token: str, fields: dict[str, str] = UPGRADE, more: bytes = b""
) -> tuple[socket.socket, bytes]:
    """
    Ask a platform for the upgrade.

    :param more: what is sent at once behind the request.
    :return: the connection, and the status line and headers of the response.
    """
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), PATIENCE)
    if parts.scheme == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = context.wrap_socket(connection)
    lines = {"Host": parts.netloc, "Authorization": f"Bearer {token}", **fields}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    connection.sendall(f"GET /registry/channel HTTP/1.1\r\n{head}\r\n".encode() + more)
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        data = connection.recv(1)
        if not data:
            break
        received += data
    if b" 101 " not in received:
        connection.close()
    return connection, received


class FakeWorkspace:
    """
    Parks connections, and serves what the platform asks for.

    :param url: of the platform.
    :param files: path → content.
    :ivar requests: what it was asked for, except ``/health``.
    :ivar parked: how many connections it has parked.
    :ivar checks: how often it was asked for ``/health``.
    :ivar keeps: how many connections it has at least, until it is closed.
    :ivar elsewhere: another URL of the platform, for when this one takes no connections.
    :ivar serve: responds to a request; returns all of the response, or nothing for silence.
    """

    def __init__(self, url: str, workspace_id: str, token: str, files: dict[str, bytes]) -> None:
        self.url, self.id, self.token, self.files = url, workspace_id, token, files
        self.requests: list[Request] = []
        self.parked = self.checks = self.keeps = 0
        self.elsewhere = url
        self.secret = ""
        self.serve: Callable[[Request], bytes] = self.respond
        self.connections: set[socket.socket] = set()
        self._busy: set[socket.socket] = set()
        self._replaces = True

    def register(self) -> Response:
        """Register in poll mode, without a URL."""
        body = json.dumps({"id": self.id, "delivery_mode": "poll"}).encode()
        bearer = {"Authorization": f"Bearer {self.token}"}
        response = fetch(self.url, "/registry/register", bearer, method="POST", body=body)
        self.secret = response.json["platform_inbound_secret"]
        return response

    def park(self, count: int = 1) -> None:
        """Park so many connections."""
        for _ in range(count):
            connection, head = upgrade(self.url, self.token)
            if not head.startswith(b"HTTP/1.1 101 "):
                raise AssertionError(head)
            connection.settimeout(None)
            self.connections.add(connection)
            self.parked += 1
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """Close all connections, and make no more."""
        self._replaces = False
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def respond(self, request: Request) -> bytes:
        """:return: the response to a request."""
        (method, target, _), fields, body = request
        if fields.get("authorization") != f"Bearer {self.secret}":
            return answer("401 Unauthorized", b'{"error":"unauthorized"}', JSON)
        if method == "POST":
            return answer("200 OK", json.dumps({"size": len(body)}).encode(), JSON)
        path = parse_qs(urlsplit(target).query).get("path", [""])[0]
        content = self.files.get(path)
        if content is None:
            return answer("404 Not Found", b'{"error":"file not found"}', JSON)
        return answer("200 OK", b"" if method == "HEAD" else content, 'ETag: "1"')

    def _run(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            while line := stream.readline():
                request = _rest(line, stream.readline, stream.read)
                if request[0][1] == "/health":
                    self.checks += 1
                    reply = answer("200 OK", b'{"status":"ok"}', JSON)
                else:
                    self.requests.append(request)
                    self._busy.add(connection)
                    if self._replaces and len(self.connections - self._busy) < PARKED:
                        self._replace()
                    reply = self.serve(request)
                    self._busy.discard(connection)
                connection.sendall(reply)
        self.connections.discard(connection)
        self._busy.discard(connection)
        if self._replaces and len(self.connections) < self.keeps:
            self._replace()

    def _replace(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while self._replaces and time.monotonic() < deadline:
            try:
                self.park()
            except (AssertionError, OSError) as error:
                if " 429 " in str(error):
                    return  # there are enough
                self.url, self.elsewhere = self.elsewhere, self.url
                time.sleep(0.02)
            else:
                return


def _rest(line: bytes, read_line: Callable[[], bytes], read: Callable[[int], bytes]) -> Request:
    fields = {}
    while header := read_line().strip():
        name, _, value = header.decode().partition(":")
        fields[name.lower()] = value.strip()
    body = read(int(fields.get("content-length", "0")))
    while fields.get("transfer-encoding") == "chunked" and (size := int(read_line(), 16)):
        body += read(size)
        read_line()
    if "transfer-encoding" in fields:
        read_line()
    return line.decode().split(), fields, body
