"""
A socket on which a body is sent while the other end is listened to.

`http.client` looks at an answer only when all of the request has been sent.  A server that refuses
an upload early answers, takes a little more, and closes: its answer would be lost in a broken pipe.
"""

from __future__ import annotations

import io
import re
import select
import socket
import ssl
import time
from typing import Any

__all__ = ["Answered", "DuplexSocket"]

#: Bytes given to the kernel at once.
BLOCK = 256 * 1024
#: Bytes of answers that are taken in while sending; a head is far smaller (CONTRACT 9).
HEARD_LIMIT = 64 * 1024

_INTERIM = re.compile(rb"HTTP/1\.[01] (1[0-9]{2})[^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n")
_INTERIM_BEGINS = re.compile(rb"HTTP/1\.[01] 1[0-9]{2}[ \r\n]")
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Answered(Exception):
    """The other end has begun its answer, or will never answer: send no more, but read."""


class _Replay(io.RawIOBase):
    """What was heard while sending, and then what comes."""

    def __init__(self, heard: bytes, rest: io.RawIOBase) -> None:
        self._heard = heard
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if not self._heard:
            count: int | None = self._rest.readinto(buffer)
            return count
        count = min(len(buffer), len(self._heard))
        buffer[:count] = self._heard[:count]
        self._heard = self._heard[count:]
        return count

    def close(self) -> None:
        self._rest.close()
        super().close()


class DuplexSocket:
    """
    Stands for the socket of an `http.client.HTTPConnection`.

    :param sock: connected; its timeout is how long may pass without a byte.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._timeout = sock.gettimeout()
        self._heard = bytearray()
        self._ended = False
        self._invited = False
        sock.settimeout(0)

    # -- for HTTPConnection

    def sendall(self, data: bytes) -> None:
        """
        Send *data*.

        :raise Answered: the other end does not wait for it.
        :raise TimeoutError: it takes nothing.
        """
        rest = memoryview(data)
        while rest:
            events = self._wait(select.POLLIN | select.POLLOUT, self._timeout)
            if not events:
                raise TimeoutError("timed out")
            if events & ~select.POLLOUT:
                self._listen()
            if events & select.POLLOUT:
                rest = rest[self._send(rest[:BLOCK]) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        """:return: the answer's bytes, from its first."""
        if mode != "rb":
            raise ValueError(mode)
        self._sock.settimeout(self._timeout)
        rest = self._sock.makefile("rb", buffering=0)
        return io.BufferedReader(_Replay(bytes(self._heard), rest))

    def close(self) -> None:
        """Let go of the socket; a file of `makefile` keeps it open."""
        self._sock.close()

    # -- for a body

    def invitation(self, seconds: float) -> None:
        """
        Wait for ``100 Continue``, but not for long: not every server sends it (RFC 9110, 10.1.1).

        :raise Answered: the body is not wanted.
        """
        deadline = time.monotonic() + seconds
        while not self._invited and (left := deadline - time.monotonic()) > 0:
            if self._wait(select.POLLIN, left):
                self._listen()

    def readable(self, descriptor: int) -> None:
        """
        Wait, however long, until something can be read from *descriptor*.

        :raise Answered: the other end does not wait for it.
        """
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        poll.register(descriptor, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll()]
            if self._sock.fileno() in ready:
                self._listen()
            if descriptor in ready:
                return

    def _wait(self, events: int, seconds: float | None) -> int:
        poll = select.poll()
        poll.register(self._sock, events)
        ready = poll.poll(None if seconds is None else seconds * 1000)
        return ready[0][1] if ready else 0

    def _send(self, data: memoryview) -> int:
        try:
            return self._sock.send(data)
        except _NOT_NOW:
            return 0
        except OSError as error:  # closed; why, is in what came before
            self._listen()
            raise Answered from error

    def _listen(self) -> None:
        """
        Take in what has come.

        :raise Answered: it is more than an invitation.
        """
        try:
            while not self._ended and len(self._heard) < HEARD_LIMIT:
                data = self._sock.recv(HEARD_LIMIT)
                self._ended = not data
                self._heard += data
        except _NOT_NOW:
            pass
        except OSError:
            self._ended = True
        while interim := _INTERIM.match(self._heard):
            self._invited = self._invited or interim[1] == b"100"
            del self._heard[: interim.end()]
        if self._ended or len(self._heard) >= HEARD_LIMIT:
            raise Answered
        if b"\n" in self._heard and not _INTERIM_BEGINS.match(self._heard):
            raise Answered
