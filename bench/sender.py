"""
A client that uploads.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from bench.clients import connect, read_headers

__all__ = ["Sender", "Upload"]

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Upload:
    """
    One upload.

    :param headers: the request line and headers, with the empty line.
    :param begin: what precedes the content of the file in the body.
    :param end: what follows it.
    """

    headers: bytes
    begin: bytes = b""
    end: bytes = b""


class Sender:
    """A kept-alive connection that uploads files of one size."""

    def __init__(self, port: int, size: int) -> None:
        self._size = size
        self._piece = os.urandom(min(size, _PIECE))
        self._connection = connect(port)

    def send(self, upload: Upload) -> None:
        """
        Send one file, and wait until it is stored.

        :raise Failed: it was refused.
        """
        if self._size <= _PIECE:
            parts = [upload.headers, upload.begin, self._piece, upload.end]
            self._connection.sendall(b"".join(parts))
        else:
            self._connection.sendall(upload.headers + upload.begin)
            for _ in range(self._size // _PIECE):
                self._connection.sendall(self._piece)
            self._connection.sendall(upload.end)
        length, body = read_headers(self._connection)
        while len(body) < length:
            body += self._connection.recv(65536)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()
