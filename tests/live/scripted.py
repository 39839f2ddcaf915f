"""
A workspace that says whatever a test wants, octet by octet.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.live.rawhttp import PATIENCE, READ

__all__ = ["Asked", "Peer", "Script", "Scripted"]


@dataclass(frozen=True, slots=True)
class Asked:
    """
    A request.

    :param fields: names in lower case, values, in order.
    """

    method: str
    target: str
    fields: list[tuple[str, str]]

    def get(self, name: str) -> str | None:
        """:return: the value of a field that was given once, ``None`` if it was not given."""
        values = [value for key, value in self.fields if key == name]
        if len(values) > 1:
            raise AssertionError(f"{name} is given {len(values)} times")
        return values[0] if values else None


class Peer:
    """
    One connection, for the script of a test.

    :param number: how many connections there were before.
    """

    def __init__(self, connection: socket.socket, number: int, asked: list[Asked]) -> None:
        self.number = number
        self._socket = connection
        self._buffer = b""
        self._asked = asked

    def request(self) -> Asked | None:
        """:return: the next request, without a body; ``None`` when the other end has closed."""
        while b"\r\n\r\n" not in self._buffer:
            data = self._socket.recv(READ)
            if not data:
                return None
            self._buffer += data
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = start.split(" ")
        pairs = [line.partition(":") for line in lines]
        fields = [(name.lower(), value.strip()) for name, _, value in pairs]
        self._asked.append(Asked(method, target, fields))
        return self._asked[-1]

    def body(self, asked: Asked) -> bytes:
        """:return: the body of the request that was just returned; its length is declared."""
        length = int(asked.get("content-length") or 0)
        while len(self._buffer) < length:
            data = self._socket.recv(READ)
            if not data:
                raise ConnectionError("the body is cut")
            self._buffer += data
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return body

    def send(self, data: bytes) -> None:
        """Say exactly this."""
        self._socket.sendall(data)

    def reset(self) -> None:
        """Leave in a way that destroys what is on its way."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def close_half(self) -> None:
        """Say that nothing more will be said."""
        self._socket.shutdown(socket.SHUT_WR)

    def hang(self) -> float:
        """
        Say no more until the other end closes.

        :return: after how many seconds that was.
        """
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while self._socket.recv(READ):
                pass
        return time.monotonic() - began


Script = Callable[[Peer], object]


class Scripted:
    """
    A server on a port of its own.

    :param script: called in a thread for each connection, which is closed when it returns.
    :ivar asked: all requests so far.
    :ivar connections: how many connections there have been.
    :ivar errors: what a script has raised, other than that the peer left.
    """

    def __init__(self, script: Script, address: str = "127.0.0.1") -> None:
        self.asked: list[Asked] = []
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
        Take no more connections and cut those that there are.

        :raise AssertionError: a script has failed.
        """
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(PATIENCE)
        self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        if self.errors:
            raise AssertionError(f"the script failed: {self.errors}") from self.errors[0]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(connection)
            peer = Peer(connection, self.connections, self.asked)
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection, peer), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, peer: Peer) -> None:
        with connection:
            try:
                self._script(peer)
            except ConnectionError:
                pass
            except BaseException as error:
                self.errors.append(error)
            finally:
                self._open.discard(connection)
