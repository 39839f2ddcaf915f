"""
A platform with one workspace, for the tests of the console script: serves a directory of this
machine as ``/workspace`` by the routes of listings, digests and downloads, in threads.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

__all__ = ["TreeServer"]

ROOT = b"/workspace"
#: A response, or its pieces and functions to call between them.
Wire = bytes | Iterable[bytes | Callable[[], object]]
_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}


def entry(path: bytes, virtual: bytes) -> dict[str, Any]:
    """:return: the JSON object of the file *path*, which is *virtual* in the workspace."""
    status = os.lstat(path)
    name = virtual.rpartition(b"/")[2]
    seconds, rest = divmod(status.st_mtime_ns, 10**9)
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    value: dict[str, Any] = {
        "name": name.decode("utf-8", "replace"),
        "ref": quote_from_bytes(virtual),
        "type": _KINDS.get(stat.S_IFMT(status.st_mode), "other"),
        "mtime": f"{moment}.{rest:09}Z",
    }
    if value["name"].encode() != name:
        value["name_base64"] = base64.b64encode(name).decode()
    if value["type"] in ("file", "directory"):
        value["mode"] = f"{stat.S_IMODE(status.st_mode):04o}"
    if value["type"] == "file":
        value |= {"size": status.st_size, "etag": etag(path)}
    return value


def etag(path: bytes) -> str:
    """:return: the validator of a file."""
    status = os.stat(path)
    return f'"{status.st_mtime_ns:x}-{status.st_size:x}"'


def walk(path: bytes, virtual: bytes) -> Iterator[dict[str, Any]]:
    """:return: the entries below a directory."""
    for name in sorted(os.listdir(path)):
        inside, shown = os.path.join(path, name), virtual + b"/" + name
        yield entry(inside, shown) | {"parent": quote_from_bytes(virtual)}
        if os.path.isdir(inside) and not os.path.islink(inside):
            yield from walk(inside, shown)


class Handler(BaseHTTPRequestHandler):
    """One request; the stub may replace its response."""

    server: TreeServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Respond, after the test's own function has had a look at the request."""
        url = urlsplit(self.path)
        operation = url.path.rpartition("/")[2]
        fields = dict(each.split("=") for each in url.query.split("&"))
        virtual = unquote_to_bytes(fields["path"])
        with self.server.lock:
            self.server.asked.append((operation, virtual, dict(self.headers)))
            self.server.connections.add(self.client_address)
        for interfere in list(self.server.interfering):
            pieces = interfere(operation, virtual)
            if pieces is not None:
                self.play(pieces)
                return
        path = os.path.join(self.server.directory, virtual.removeprefix(ROOT).lstrip(b"/"))
        try:
            getattr(self, operation)(path, virtual, fields)
        except FileNotFoundError:
            self.send_json(404, {"error": "file not found", "code": "file_not_found"})

    def play(self, pieces: Wire) -> None:
        """Send the pieces of a response, and call those that are functions."""
        self.close_connection = True
        for piece in [pieces] if isinstance(pieces, bytes) else pieces:
            if callable(piece):
                piece()
            else:
                self.wfile.write(piece)

    def entries(self, path: bytes, virtual: bytes, fields: dict[str, str]) -> None:
        """A listing: of the path itself, of a page, or of everything below it."""
        if fields.get("depth") == "0":
            self.send_json(200, {"entry": entry(path, virtual)})
            return
        if not os.path.isdir(path) and os.lstat(path):
            self.send_json(400, {"error": "x", "code": "not_a_directory"})
            return
        if "depth" not in fields:
            self.page(path, virtual, fields.get("after", ""))
            return
        lines: list[Any] = [*walk(path, virtual), *self.server.extra]
        lines.append({"end": True, "entries": len(lines), "complete": True, **self.server.end})
        body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        self.send(200, body, {"Content-Type": "application/x-ndjson"})

    def page(self, path: bytes, virtual: bytes, after: str) -> None:
        """What is in a directory, two entries a page."""
        names = [name for name in sorted(os.listdir(path)) if name.hex() > after]
        page = [entry(os.path.join(path, name), virtual + b"/" + name) for name in names[:2]]
        more = {"next": names[1].hex()} if len(names) > 2 else {}
        self.send_json(200, {"entries": page} | more)

    def digest(self, path: bytes, _: bytes, __: dict[str, str]) -> None:
        """The digest of a file."""
        with open(path, "rb") as file:
            self.send_json(200, {"sha256": hashlib.sha256(file.read()).hexdigest()})

    def download(self, path: bytes, _: bytes, __: dict[str, str]) -> None:
        """A file, or the rest of it."""
        with open(path, "rb") as file:
            body = file.read()
        headers, status = {"ETag": etag(path)}, 200
        wanted = self.headers.get("Range")
        if wanted and self.headers.get("If-Range") == headers["ETag"]:
            first, size = int(wanted.removeprefix("bytes=").rstrip("-")), len(body)
            headers["Content-Range"] = f"bytes {first}-{size - 1}/{size}"
            status, body = 206, body[first:]
        self.send(status, body, headers)

    def send_json(self, status: int, value: object) -> None:
        self.send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.close_connection or self.server.closes

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing."""


class TreeServer(ThreadingHTTPServer):
    """
    The platform.

    :param directory: what it serves.
    :ivar asked: operation, path and headers of each request.
    :ivar connections: the addresses of the client's connections.
    :ivar closes: whether each connection is closed after a response, without notice.
    :ivar interfering: functions of operation and path that may return another response.
    :ivar extra: entries that end each listing of a tree.
    :ivar end: members of the last line of a listing.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, directory: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.directory = os.fsencode(directory)
        self.lock = threading.Lock()
        self.asked: list[tuple[str, bytes, dict[str, str]]] = []
        self.connections: set[Any] = set()
        self.closes = False
        self.interfering: list[Callable[[str, bytes], Wire | None]] = []
        self.extra: list[dict[str, Any]] = []
        self.end: dict[str, Any] = {}

    def start(self) -> None:
        """Serve in a thread."""
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Serve no longer."""
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be silent about connections that the client has ended."""

    def count(self, operation: str) -> int:
        """:return: how many requests there were for *operation*."""
        return sum(each[0] == operation for each in self.asked)
