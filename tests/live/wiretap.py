"""
A proxy between two programs: passes everything on as it is, and records it.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from dataclasses import dataclass, field

from chatfiles.testing.broken_upstreams import ReceivedRequest
from tests.live.rawhttp import READ

__all__ = ["Tapped", "Wiretap", "requests_in"]

_START = re.compile(rb"([A-Z]+) (/[\x21-\x7e]*) HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_LENGTH = re.compile("[0-9]{1,18}")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})")


@dataclass(slots=True)
class Tapped:
    """
    The record of one connection.

    :param asked: all bytes that went to the server.
    :param answered: all bytes that came from it.
    :param ended: whether both sides have closed it.
    """

    asked: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)
    ended: bool = False


class Wiretap:
    """
    :param port: of the server.
    :ivar address: where it listens, ``HOST:PORT``.
    :ivar connections: all so far, in order.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.connections: list[Tapped] = []
        self._target = (host, port)
        self._cut = False
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more connections, and close the open ones."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Close all connections, and refuse new ones, until `restore`."""
        self._cut = True
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def restore(self) -> None:
        """Accept connections again."""
        self._cut = False

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._cut:
                    raise ConnectionRefusedError
                there = socket.create_connection(self._target)
            except OSError:
                here.close()
                continue
            tapped = Tapped()
            self.connections.append(tapped)
            self._open |= {here, there}
            threading.Thread(target=self._serve, args=(here, there, tapped), daemon=True).start()

    def _serve(self, here: socket.socket, there: socket.socket, tapped: Tapped) -> None:
        back = threading.Thread(target=self._pump, args=(there, here, tapped.answered))
        back.start()
        self._pump(here, there, tapped.asked)
        back.join()
        self._open -= {here, there}
        here.close()
        there.close()
        tapped.ended = True

    def _pump(self, source: socket.socket, target: socket.socket, record: bytearray) -> None:
        """Pass on one direction, and how it ends."""
        try:
            while data := source.recv(READ):
                record += data
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            # One side has reset the connection, or is gone: reset the other one, too.
            for each in (source, target):
                with contextlib.suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    each.shutdown(socket.SHUT_RDWR)


def requests_in(data: bytes) -> tuple[list[ReceivedRequest], bytes]:
    """
    Parse strictly, as RFC 9112 specifies, and independently of all other code here.

    :param data: all that was sent on a connection.
    :return: the requests that it consists of, and the rest that is not a whole request.
    """
    found: list[ReceivedRequest] = []
    while True:
        try:
            asked, end = _request(data)
        except ValueError:
            return found, data
        found.append(asked)
        data = data[end:]


def _request(data: bytes) -> tuple[ReceivedRequest, int]:
    """:return: the first request, and where it ends."""
    end = data.index(b"\r\n\r\n") + 4
    start, *lines = data[: end - 4].split(b"\r\n")
    line = _START.fullmatch(start)
    pairs = [_FIELD.fullmatch(each) for each in lines]
    if line is None or not all(pairs):
        raise ValueError("malformed")
    fields = [(pair[1].decode().lower(), pair[2].decode("latin-1")) for pair in pairs if pair]
    asked = ReceivedRequest(line[1].decode(), line[2].decode(), fields)
    framing = [pair for pair in fields if pair[0] in ("content-length", "transfer-encoding")]
    if not framing:
        return asked, end
    [(name, value)] = framing
    if name == "content-length" and _LENGTH.fullmatch(value):
        end += int(value)
    elif (name, value.lower()) == ("transfer-encoding", "chunked"):
        end = _end_of_chunks(data, end)
    else:
        raise ValueError("unknown framing")
    if end > len(data):
        raise ValueError("not whole")
    return asked, end


def _end_of_chunks(data: bytes, at: int) -> int:
    while True:
        line_end = data.index(b"\r\n", at)
        size = _SIZE.fullmatch(data[at:line_end])
        if size is None:
            raise ValueError("chunk size")
        at = line_end + 2 + int(size[1], 16)
        if not int(size[1], 16):
            return _end_of_trailer(data, at)
        if data[at : at + 2] != b"\r\n":
            raise ValueError("chunk end")
        at += 2


def _end_of_trailer(data: bytes, at: int) -> int:
    while True:
        line_end = data.index(b"\r\n", at)
        line, at = data[at:line_end], line_end + 2
        if not line:
            return at
        if not _FIELD.fullmatch(line):
            raise ValueError("malformed trailer")
