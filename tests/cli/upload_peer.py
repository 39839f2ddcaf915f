"""
A server for the tests of ``chatfiles put``: does with each connection what a test says, including
what a correct server never does.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

from click.testing import Result

from tests.cli.cli_stub import WORKSPACE, StubCase, said
from tests.support.patience import PATIENCE

__all__ = ["CONTINUE", "KEPT", "LARGE", "CutShort", "Peer", "PutCase", "stored"]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
#: More bytes than the socket buffers of both ends hold, yet sent in one request.
LARGE = 16 * 1024 * 1024
KEPT = "/workspace/.molecule/chat-uploads"
#: Bytes that the kernel buffers for us.  It is small so that the sender blocks if we do not read.
SMALL_BUFFER = 64 * 1024


class CutShort(Exception):
    """The other end closed the connection before the message was complete."""


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.socket.settimeout(PATIENCE)
        self.head = ""
        self._buffer = b""

    def send(self, data: bytes) -> None:
        """Send exactly this."""
        self.socket.sendall(data)

    def read_head(self) -> str:
        """:return: the request line and headers, which are kept in `head` too."""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        self.head = head.decode("ascii")
        return self.head

    def field(self, name: str) -> str | None:
        """:return: the value of a header that may be given once."""
        values = re.findall(rf"(?im)^{name}: (.*?)\r?$", self.head)
        if len(values) > 1:
            raise AssertionError(f"{name} is given {len(values)} times")
        return values[0] if values else None

    def read_body(self) -> bytes:
        """:return: the complete body.  :raise CutShort: it is incomplete."""
        length = self.field("Content-Length")
        if length is not None:
            return self.exactly(int(length))
        body = b""
        while size := int(self._line(), 16):
            body += self.exactly(size)
            self.exactly(2)
        self.exactly(2)
        return body

    def exactly(self, count: int) -> bytes:
        """:return: the next *count* bytes."""
        pieces = [self._buffer]
        left = count - len(self._buffer)
        while left > 0:
            self._buffer = b""
            self._more()
            pieces.append(self._buffer)
            left -= len(self._buffer)
        data = b"".join(pieces)
        data, self._buffer = data[:count], data[count:]
        return data

    def until_closed(self) -> bytes:
        """:return: everything that is received until the other end closes."""
        with contextlib.suppress(CutShort, ConnectionError):
            while True:
                self._more()
        return self._buffer

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._more()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _more(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise CutShort
        self._buffer += data


Script = Callable[[Peer], object]


def stored(*contents: bytes, **changes: object) -> bytes:
    """:return: the response that reports *contents* as stored, with *changes* to each entry."""
    entries = [
        {
            "uri": f"workspace:/workspace/.molecule/chat-uploads/{index}-f",
            "name": "f",
            "mimeType": "text/plain",
            "size": len(content),
            "originalName": "f",
            "sha256": hashlib.sha256(content).hexdigest(),
            **changes,
        }
        for index, content in enumerate(contents)
    ]
    return said("200 OK", {"files": entries})


class PutCase(StubCase):
    """
    Runs ``chatfiles put`` against a `Peer`.

    :ivar peer: the peer of the last run.
    :ivar body: the body that `take` has read.
    """

    def setUp(self) -> None:
        super().setUp()
        self.peer: Peer
        self.body = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        self.addCleanup(self._listener.close)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.context: ssl.SSLContext | None = None

    def fill(self, name: str, content: bytes) -> bytes:
        """Create a file.  :return: its content."""
        with open(self.path(name), "wb") as file:
            file.write(content)
        return content

    def put(self, *words: str, **more: Any) -> Result:
        """Run ``chatfiles put`` with the test's token."""
        return self.invoke("put", "--token-file", "token", *words, WORKSPACE, **more)

    def against(self, script: Script, *words: str, **more: Any) -> Result:
        """Run ``chatfiles put`` while *script* serves it; a failure in either fails the test."""
        with self.serving(script):
            return self.put(*words, **more)

    @contextlib.contextmanager
    def serving(self, script: Script) -> Iterator[None]:
        """Run *script* with the next connection, then close it."""
        errors: list[BaseException] = []

        def run() -> None:
            try:
                sock, _ = self._listener.accept()
                with sock if self.context is None else self.context.wrap_socket(sock, True) as ours:
                    self.peer = Peer(ours)
                    script(self.peer)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield
        thread.join(PATIENCE)
        self.assertFalse(thread.is_alive(), "the server's part has not come to its end")
        if errors:
            raise errors[0]

    def take(self, *answers: bytes) -> Script:
        """:return: a script that reads a complete request and then sends the given responses."""

        def script(peer: Peer) -> None:
            peer.read_head()
            if peer.field("Expect"):
                peer.send(CONTINUE)
            self.body = peer.read_body()
            peer.send(b"".join(answers))

        return script

    def parts(self) -> list[tuple[str, bytes]]:
        """:return: the headers and contents of the parts of `body`, split by its boundary."""
        boundary = (self.peer.field("Content-Type") or "").partition("boundary=")[2].encode()
        first, *middle, last = (b"\r\n" + self.body).split(b"\r\n--" + boundary)
        self.assertEqual((first, last), (b"", b"--\r\n"))
        divided = [part.partition(b"\r\n\r\n") for part in middle]
        return [(head.decode("latin-1").strip(), content) for head, _, content in divided]

    def assert_not_asked(self) -> None:
        """Assert that no connection was made."""
        self._listener.settimeout(0)
        self.assertRaises(BlockingIOError, self._listener.accept)
