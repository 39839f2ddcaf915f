"""
Pipes through which the kernel moves bytes from one socket to another (``splice``), without copying
them into this process.
"""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress

from chatfiles.streams.in_flight import PIPE_BYTES

__all__ = ["Pipe", "Pipes"]

#: The most pipes at once.  Together they may take as many pages as the kernel allows one user
#: (``fs.pipe-user-pages-soft``).
MOST_PIPES = 64
#: Bytes of the smallest useful pipe.  The kernel makes smaller ones for a user who has too many.
LEAST_BYTES = 64 * 1024
_FLAGS = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)


class Pipe:
    """
    One pipe.

    :raise OSError: there are no descriptors left.
    :ivar held: number of bytes in it, at most `PIPE_BYTES`.
    """

    def __init__(self) -> None:
        self.held = 0
        self._out, self._in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with suppress(OSError):  # it is useful with its initial size, too
            fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    @property
    def size(self) -> int:
        """Bytes that it can hold at least, if they are in whole pages."""
        return fcntl.fcntl(self._in, fcntl.F_GETPIPE_SZ)

    def fill(self, source: socket.socket, most: int) -> int:
        """
        Move bytes from a socket into the empty pipe.

        :param most: the most bytes to move.
        :return: the number of bytes; 0 if the peer has closed the connection.
        :raise BlockingIOError: no bytes have arrived.
        :raise OSError: the connection failed, or its kind of socket cannot do it.
        """
        count = os.splice(source.fileno(), self._in, min(most, PIPE_BYTES), flags=_FLAGS)
        self.held += count
        return count

    def drain(self, target: socket.socket) -> int:
        """
        Move the bytes of the pipe into a socket.

        :return: the number of bytes, which may be less than `held`, and is 0 if the socket is full.
        :raise OSError: the connection failed, or its kind of socket cannot do it.
        """
        try:
            count = os.splice(self._out, target.fileno(), self.held, flags=_FLAGS)
        except BlockingIOError:
            return 0
        self.held -= count
        return count

    def take(self) -> bytes:
        """:return: the bytes in it, which are removed."""
        data = b""
        while self.held > len(data):
            data += os.read(self._out, self.held - len(data))
        self.held = 0
        return data

    def close(self) -> None:
        """Close it; the bytes in it are lost."""
        os.close(self._in)
        os.close(self._out)


class Pipes:
    """
    Opens pipes, as far as it is useful.

    :param most: the most pipes at once.
    """

    def __init__(self, most: int = MOST_PIPES) -> None:
        self._left = most if hasattr(os, "splice") else 0

    def open(self) -> Pipe | None:
        """:return: a pipe, to be closed with `close`; ``None`` if there are too many."""
        if not self._left:
            return None
        try:
            pipe = Pipe()
        except OSError:  # EMFILE, ENFILE
            return None
        if pipe.size < LEAST_BYTES:
            pipe.close()
            return None
        self._left -= 1
        return pipe

    def close(self, pipe: Pipe) -> None:
        """Close *pipe*; the bytes in it are lost."""
        self._left += 1
        pipe.close()
