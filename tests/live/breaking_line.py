"""
A line that breaks while a client uploads.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading

from tests.support.patience import PATIENCE

__all__ = ["BreakingLine"]

_OFFSET = re.compile(rb"(?i)\r\nupload-offset: *([0-9]+)\r\n")


class BreakingLine:
    """
    A proxy that closes its first connections after some bytes of the client.

    :param url: of the server behind it.
    :param cuts: how many connections are closed.
    :param after: the bytes after which each of them is closed.
    :ivar offsets: the values of ``Upload-Offset`` that the client has sent.
    """

    def __init__(self, url: str, cuts: int, after: int) -> None:
        self._behind = ("127.0.0.1", int(url.rpartition(":")[2].rstrip("/")))
        self.cuts, self._after = cuts, after
        self.offsets: list[int] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(self._behind, PATIENCE)
                for ends in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
                passed += len(data)
                if counts and self._breaks(data, passed):
                    break
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()  # a client that still sends gets a reset

    def _breaks(self, data: bytes, passed: int) -> bool:
        with self._lock:
            self.offsets += map(int, _OFFSET.findall(data))
            if self.cuts == 0 or passed <= self._after:
                return False
            self.cuts -= 1
            return True
