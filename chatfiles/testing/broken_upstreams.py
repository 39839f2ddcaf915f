"""
A scripted HTTP server: on each connection it runs a script of the test, which sends exact bytes.

It represents a workspace, a platform or a proxy that interrupts, stalls, or breaks the rules of
HTTP, which no real server does reliably.  It listens on a loopback port and runs each script in a
thread, so that it works with clients in this process and in other processes::

    def interrupted(connection: ServerConnection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 1000\\r\\n\\r\\nonly this")

    with ScriptedServer(interrupted) as server:
        ...  # download from server.url, and expect an error
        server.requests[0].header("Authorization")

`respond` returns the most frequent scripts.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

__all__ = ["ReceivedRequest", "Script", "ScriptedServer", "ServerConnection", "Then", "respond"]

#: Seconds that `ScriptedServer.close` waits for a script that does not end.
CLOSE_TIMEOUT = 20.0
#: Maximum bytes of one read.
BLOCK = 65536


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """
    The request line and headers of a request.

    :param method: as it was sent.
    :param target: the request target, not decoded.
    :param headers: names in lower case and values, in order.
    """

    method: str
    target: str
    headers: list[tuple[str, str]]

    def header(self, name: str) -> str | None:
        """
        :return: the value of the header *name*, in any case; ``None`` if it is absent.
        :raise AssertionError: there is more than one.
        """
        values = [value for key, value in self.headers if key == name.lower()]
        if len(values) > 1:
            raise AssertionError(f"{name} is given {len(values)} times")
        return values[0] if values else None


class ServerConnection:
    """
    The server's side of one connection, which a `Script` controls.

    Every method may raise `ConnectionError`.  It ends the script, and does not make the test fail.

    :ivar number: how many connections the server had accepted before.
    """

    def __init__(
        self, connection: socket.socket, number: int, requests: list[ReceivedRequest]
    ) -> None:
        self.number = number
        self._socket = connection
        self._buffer = b""
        self._requests = requests

    def request(self) -> ReceivedRequest | None:
        """:return: the next request, without its body; ``None`` if the client has closed."""
        while b"\r\n\r\n" not in self._buffer:
            data = self._socket.recv(BLOCK)
            if not data:
                return None
            self._buffer += data
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = start.split(" ")
        pairs = [line.partition(":") for line in lines]
        headers = [(name.lower(), value.strip()) for name, _, value in pairs]
        self._requests.append(ReceivedRequest(method, target, headers))
        return self._requests[-1]

    def body(self, request: ReceivedRequest) -> bytes:
        """
        :param request: the request that `request` has just returned; its ``Content-Length`` gives
            the length of the body.
        :return: its body.
        :raise ConnectionError: the client closed before the body was complete.
        """
        return self.exactly(int(request.header("content-length") or 0))

    def exactly(self, size: int) -> bytes:
        """
        :return: the next *size* bytes.
        :raise ConnectionError: the client closed before that.
        """
        while len(self._buffer) < size:
            self._fill()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def line(self) -> bytes:
        """
        :return: the bytes up to the next CRLF, without it.
        :raise ConnectionError: the client closed before that.
        """
        while b"\r\n" not in self._buffer:
            self._fill()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _fill(self) -> None:
        data = self._socket.recv(BLOCK)
        if not data:
            raise ConnectionError("the request body was interrupted")
        self._buffer += data

    def send(self, data: bytes) -> None:
        """Send exactly these bytes."""
        self._socket.sendall(data)

    def reset(self) -> None:
        """Reset the connection (RST) at the end of the script, which loses bytes in transit."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def close_half(self) -> None:
        """Close the sending side only (FIN)."""
        self._socket.shutdown(socket.SHUT_WR)

    def hang(self) -> float:
        """
        Send nothing until the client closes.

        :return: the seconds until it closed.
        """
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while self._socket.recv(BLOCK):
                pass
        return time.monotonic() - began


#: Serves one connection, which is closed when it returns.
Script = Callable[[ServerConnection], object]
#: What follows a response: close, reset, send nothing more, close the sending side and wait, or
#: respond to the next request on the same connection in the same way.
Then = Literal["close", "reset", "hang", "half", "keep"]


def respond(raw: bytes, then: Then = "close") -> Script:
    """
    :param raw: the bytes of the response, well-formed or not.
    :param then: what follows the response; see `Then`.
    :return: a script that waits for a request and sends *raw*.
    """

    def script(connection: ServerConnection) -> None:
        while connection.request() is not None:
            connection.send(raw)
            if then == "reset":
                connection.reset()
            if then == "half":
                connection.close_half()
            if then in ("half", "hang"):
                connection.hang()
            if then != "keep":
                return

    return script


class ScriptedServer:
    """
    A server on its own loopback port.  As a context manager, it closes at the end.

    :param script: serves each connection, in a thread.
    :param address: a local IPv4 address.
    :ivar url: its base URL.
    :ivar requests: all requests that scripts have read, in order.
    :ivar connections: how many connections it has accepted.
    :ivar errors: the exceptions that scripts have raised, without `ConnectionError`.
    """

    def __init__(self, script: Script, address: str = "127.0.0.1") -> None:
        self.requests: list[ReceivedRequest] = []
        self.errors: list[BaseException] = []
        self.connections = 0
        self._script = script
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((address, 0))
        self.url = f"http://{address}:{self._listener.getsockname()[1]}"
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """
        Accept no more connections, and close those that are open.

        :raise AssertionError: a script has failed.
        """
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(CLOSE_TIMEOUT)
        self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(CLOSE_TIMEOUT)
        if self.errors:
            raise AssertionError(f"the script failed: {self.errors}") from self.errors[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(accepted)
            connection = ServerConnection(accepted, self.connections, self.requests)
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(accepted, connection), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, accepted: socket.socket, connection: ServerConnection) -> None:
        with accepted:
            try:
                self._script(connection)
            except ConnectionError:
                pass
            except BaseException as error:
                self.errors.append(error)
            finally:
                self._open.discard(accepted)
