"""
A platform for the tests of ``chatfiles put``: keeps resumable uploads in memory (tus 1.0.0), and
fails as a test says.
"""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from click.testing import Result

from chatfiles.cli.transfers import resumable_upload
from chatfiles.rules.digest_fields import repr_digest
from chatfiles.rules.upload_metadata import parse_metadata
from tests.cli.cli_stub import WORKSPACE, StubCase

__all__ = ["Fault", "Kept", "TusCase", "cut_after", "respond"]

UPLOADS = f"/workspaces/{WORKSPACE}/uploads"
CHAT = "/workspace/.molecule/chat-uploads"


class Kept:
    """An upload."""

    def __init__(self, target: str, length: int, metadata: str) -> None:
        self.target = target
        self.length = length
        self.metadata = metadata
        self.content = b""

    @property
    def is_finished(self) -> bool:
        return len(self.content) == self.length


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: _Server
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline()
        self.close_connection = True
        if not self.raw_requestline or not self.parse_request():
            return
        case = self.server.case
        case.requests.append((self.command, self.path, dict(self.headers)))
        fault = case.faults.pop(0) if case.faults else None
        if fault is None or not fault(self):
            getattr(self, "do_" + self.command)()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing."""

    def body(self, count: int | None = None) -> bytes:
        """:return: the body, or its first bytes."""
        if self.headers.get("Expect"):
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        left = int(self.headers.get("Content-Length", "0"))
        return self.rfile.read(left if count is None else min(count, left))

    def say(self, status: int, body: bytes = b"", **fields: Any) -> None:
        """Respond.  Underscores in the names of headers are dashes."""
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), str(value))
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def tell(self, value: object) -> None:
        """Respond in JSON."""
        self.say(200, json.dumps(value).encode())

    def reset(self) -> None:
        """End the connection with a reset."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def upload(self) -> Kept | None:
        """:return: the upload of the target; 404 if there is none."""
        found = self.server.case.uploads.get(self.path.rpartition("/")[2])
        if found is None:
            self.say(404)
        return found

    def progress(self, upload: Kept) -> dict[str, Any]:
        """:return: the headers that say how far it has come."""
        fields: dict[str, Any] = {"Upload_Offset": len(upload.content)}
        if upload.is_finished:
            digest = hashlib.sha256(upload.content).digest()
            fields |= {"Chatfiles_Uri": self.uri(upload)}
            fields |= {"Repr_Digest": repr_digest(digest).decode()}
        return fields

    def uri(self, upload: Kept) -> str:
        return "workspace:" + (upload.target.partition("?path=")[2] or f"{CHAT}/0-f")

    def do_OPTIONS(self) -> None:
        size = self.server.case.max_size
        self.say(204, Tus_Version="1.0.0", Tus_Extension="creation", Tus_Max_Size=size)

    def do_POST(self) -> None:
        case = self.server.case
        if not self.path.startswith(UPLOADS):
            case.bodies.append(self.body())
            self.say(200, json.dumps(case.answer).encode())
            return
        name = f"{len(case.uploads) + 1:032x}"
        length, metadata = int(self.headers["Upload-Length"]), self.headers["Upload-Metadata"]
        case.uploads[name] = Kept(self.path, length, metadata)
        self.say(201, Location=f"{UPLOADS}/{name}")

    def do_HEAD(self) -> None:
        if upload := self.upload():
            fields = {**self.progress(upload), "Upload_Length": upload.length}
            self.say(200, **fields, Upload_Metadata=upload.metadata)

    def do_PATCH(self) -> None:
        if upload := self.upload():
            if int(self.headers["Upload-Offset"]) != len(upload.content):
                self.say(409, b'{"code": "offset_mismatch"}', **self.progress(upload))
                return
            upload.content += self.body()
            sha256 = parse_metadata([upload.metadata.encode()]).sha256
            if upload.is_finished and hashlib.sha256(upload.content).digest() != sha256:
                self.say(422, b'{"error": "digest mismatch", "code": "digest_mismatch"}')
                return
            self.say(204, **self.progress(upload))

    def do_GET(self) -> None:
        if self.path.startswith(f"{UPLOADS}/"):
            if upload := self.upload():
                digest = hashlib.sha256(upload.content).hexdigest()
                row = {"uri": self.uri(upload), "size": upload.length, "sha256": digest}
                self.tell({"files": [row | {"mimeType": "a/b"}]})
        else:
            self.tell(self.server.case.answer)

    def do_PUT(self) -> None:
        content = self.body()
        self.server.case.bodies.append(content)
        sha256 = hashlib.sha256(content).hexdigest()
        self.say(201, json.dumps({"size": len(content), "sha256": sha256}).encode())

    def do_DELETE(self) -> None:
        if self.upload():
            del self.server.case.uploads[self.path.rpartition("/")[2]]
            self.say(204)


#: Handles a request in place of the server; false if the server should handle it.
Fault = Callable[[Handler], object]


def respond(status: int, code: str = "", **fields: Any) -> Fault:
    """:return: the fault that a request is refused."""

    def fault(handler: Handler) -> bool:
        handler.say(status, json.dumps({"error": "it says", "code": code}).encode(), **fields)
        return True

    return fault


def cut_after(count: int) -> Fault:
    """:return: the fault that a connection breaks after so many bytes of the body."""

    def fault(handler: Handler) -> bool:
        upload = handler.server.case.uploads[handler.path.rpartition("/")[2]]
        if int(handler.headers["Upload-Offset"]) != len(upload.content):
            raise AssertionError("the chunk begins elsewhere")
        upload.content += handler.body(count)
        handler.reset()
        return True

    return fault


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, case: TusCase) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.case = case

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client has left."""


class TusCase(StubCase):
    """
    Runs ``chatfiles put`` against the server, with a small limit for files that are sent at once.

    :ivar faults: what is done with the next requests; ``None`` for nothing special.
    :ivar uploads: the uploads, by their ids.
    :ivar requests: method, target and headers of each request.
    :ivar bodies: of the requests that are not resumable.
    :ivar answer: the response to a form, and to a ``GET`` that is not of an upload.
    """

    LARGE = 300_000

    def setUp(self) -> None:
        super().setUp()
        self.faults: list[Fault | None] = []
        self.uploads: dict[str, Kept] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.bodies: list[bytes] = []
        self.answer: object = {}
        self.max_size = 1 << 30
        self.slept: list[float] = []
        self.patch(resumable_upload, "LARGE", self.LARGE - 1)
        self.patch(time, "sleep", self.slept.append)
        server = _Server(self)
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)

    def put(self, *words: str, to: str = WORKSPACE, **more: Any) -> Result:
        """Run ``chatfiles put`` with the test's token."""
        return self.invoke("put", "--token-file", "token", *words, to, **more)

    @property
    def methods(self) -> list[str]:
        """The methods of the requests so far."""
        return [method for method, _, _ in self.requests]
