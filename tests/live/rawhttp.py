"""
A small and strict HTTP/1.1 client on bare sockets: it sends exactly what a test gives it, and
accepts nothing that the RFCs do not allow (RFC 9110, RFC 9112).

A response that is interrupted raises `Incomplete`, one that is invalid raises `Malformed`.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from tests.support.patience import PATIENCE

__all__ = ["Answer", "Connection", "Incomplete", "Malformed", "Response", "answers_in", "fetch"]

MAX_HEAD = 65536
READ = 65536

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2}) ([\t\x20-\x7e]*)")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e]*?)[ \t]*")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})")

Recv = Callable[[int], bytes]
Fields = Mapping[str, str] | Iterable[tuple[str, str]]


class Malformed(Exception):
    """What was received is not valid HTTP."""


class Incomplete(Exception):
    """
    The message ended before it was complete.

    :ivar received: bytes of its body that were received.
    """

    def __init__(self, received: int = 0) -> None:
        super().__init__(f"cut after {received} octets of the body")
        self.received = received


@dataclass(slots=True)
class Response:
    """
    A response.

    :param fields: its headers in order: names in lower case, and values.
    """

    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes = field(default=b"", repr=False)

    def get(self, name: str) -> str | None:
        """:return: the value of a header that may occur once."""
        values = [value for key, value in self.fields if key == name.lower()]
        if len(values) > 1:
            raise Malformed(f"{name} is given {len(values)} times")
        return values[0] if values else None

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise AssertionError(f"no {name} in {self.fields}")
        return value

    @property
    def json(self) -> Any:
        """The body, which is declared as JSON."""
        if self["content-type"] != "application/json":
            raise AssertionError(f"{self['content-type']}: {self.body[:200]!r}")
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The message of an error response."""
        return str(self.json["error"])


class Answer:
    """
    A response whose body is read piece by piece.

    :param recv: returns bytes, ``b""`` at the end.
    :param buffer: bytes that were received too early; what is left over stays there.
    :param method: of the request.
    """

    def __init__(self, recv: Recv, buffer: bytearray, method: str) -> None:
        self._recv = recv
        self._buffer = buffer
        self.head = self._read_head()
        while 100 <= self.head.status < 200 and self.head.status != 101:
            self.head = self._read_head()
        self.received = 0
        self._left: int | None = 0
        self._until_close = False
        self._frame(method)

    @property
    def complete(self) -> bool:
        """Whether the last byte of the body has been read."""
        return self._left == 0

    def read(self, most: int = READ) -> bytes:
        """:return: some bytes of the body, ``b""`` at its end."""
        if self._left == 0:
            return b""
        if self._left is None:
            return self._read_chunked(most)
        if not self._buffer:
            self._fill()
        data = bytes(self._buffer[: min(most, self._left)])
        del self._buffer[: len(data)]
        self._left -= len(data)
        self.received += len(data)
        return data

    def rest(self) -> bytes:
        """:return: all of the body that has not been read yet."""
        pieces = []
        while data := self.read():
            pieces.append(data)
        return b"".join(pieces)

    def exactly(self, octets: int) -> bytes:
        """:return: exactly so many bytes of the body."""
        pieces, left = [], octets
        while left:
            data = self.read(left)
            if not data:
                raise AssertionError(f"the body has {self.received} octets only")
            pieces.append(data)
            left -= len(data)
        return b"".join(pieces)

    def _frame(self, method: str) -> None:
        head = self.head
        length, coding = head.get("content-length"), head.get("transfer-encoding")
        if length is not None and (coding is not None or not re.fullmatch("[0-9]{1,19}", length)):
            raise Malformed(f"Content-Length {length}, Transfer-Encoding {coding}")
        if coding is not None and coding != "chunked":
            raise Malformed(f"Transfer-Encoding {coding}")
        if method == "HEAD" or head.status in (204, 304):
            if head.status == 204 and (length or coding):
                raise Malformed("204 with a body")
            return
        if length is None and coding is None:
            raise Malformed("an answer that only ends by closing")
        self._left = None if length is None else int(length)
        self._chunk = 0

    def _read_chunked(self, most: int) -> bytes:
        if not self._chunk:
            size = _CHUNK.fullmatch(self._line())
            if size is None:
                raise Malformed("chunk size")
            self._chunk = int(size[1], 16)
            if not self._chunk:
                if self._line():
                    raise Malformed("trailer")
                self._left = 0
                return b""
        if not self._buffer:
            self._fill()
        data = bytes(self._buffer[: min(most, self._chunk)])
        del self._buffer[: len(data)]
        self._chunk -= len(data)
        self.received += len(data)
        if not self._chunk and self._line():
            raise Malformed("no line end behind a chunk")
        return data

    def _read_head(self) -> Response:
        start = self._line()
        status = _STATUS.fullmatch(start)
        if status is None:
            raise Malformed(f"status line {start!r}")
        fields = []
        while line := self._line():
            match = _FIELD.fullmatch(line)
            if match is None:
                raise Malformed(f"header line {line!r}")
            fields.append((match[1].decode().lower(), match[2].decode("latin-1")))
        return Response(int(status[1]), status[2].decode(), fields)

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MAX_HEAD:
                raise Malformed("a line without end")
            self._fill()
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise Malformed(f"line end of {line!r}")
        return line[:-2]

    def _fill(self) -> None:
        try:
            data = self._recv(READ)
        except ConnectionError:
            data = b""
        if not data:
            raise Incomplete(getattr(self, "received", 0))
        self._buffer += data


class Connection:
    """
    A connection to a role.

    :param url: its base URL.
    :param receive_buffer: bytes that the kernel may buffer for us; few for a slow reader.
    :param source: the local address.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = PATIENCE,
        receive_buffer: int | None = None,
        source: str | None = None,
    ) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.host = parts.netloc
        self.socket = socket.socket(socket.AF_INET6 if ":" in parts.hostname else socket.AF_INET)
        self.socket.settimeout(timeout)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            self.socket.bind((source, 0))
        self.socket.connect((parts.hostname, parts.port or 80))
        self._buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send exactly these bytes."""
        self.socket.sendall(data)

    def ask(
        self, method: str, target: str | bytes, fields: Fields = (), body: bytes | None = None
    ) -> None:
        """Send a request; its ``Host`` and ``Content-Length`` are added."""
        raw = target if isinstance(target, bytes) else target.encode("ascii")
        items = list(fields.items() if isinstance(fields, Mapping) else fields)
        if body is not None:
            items.append(("Content-Length", str(len(body))))
        lines = "".join(f"{name}: {value}\r\n" for name, value in [("Host", self.host), *items])
        self.send(
            b"%s %s HTTP/1.1\r\n%s\r\n%s"
            % (method.encode("ascii"), raw, lines.encode("latin-1"), body or b"")
        )

    def answer(self, method: str = "GET") -> Answer:
        """:return: the next response, once its headers are received."""
        return Answer(self.socket.recv, self._buffer, method)

    def response(self, method: str = "GET") -> Response:
        """:return: the next response, whole."""
        answer = self.answer(method)
        answer.head.body = answer.rest()
        return answer.head

    def exchange(
        self, method: str, target: str | bytes, fields: Fields = (), body: bytes | None = None
    ) -> Response:
        """:return: the whole response to a request."""
        self.ask(method, target, fields, body)
        return self.response(method)

    def until_closed(self) -> bytes:
        """:return: all that is received until the other end closes."""
        pieces = [bytes(self._buffer)]
        self._buffer.clear()
        try:
            while data := self.socket.recv(READ):
                pieces.append(data)
        except ConnectionError:
            pass
        return b"".join(pieces)


def fetch(
    url: str,
    target: str | bytes,
    fields: Fields = (),
    *,
    method: str = "GET",
    body: bytes | None = None,
    timeout: float = PATIENCE,
    source: str | None = None,
) -> Response:
    """
    Send one request, on a connection that the other end closes right after the response.

    :return: the whole response.
    """
    items = list(fields.items() if isinstance(fields, Mapping) else fields)
    with Connection(url, timeout=timeout, source=source) as connection:
        connection.ask(method, target, [*items, ("Connection", "close")], body)
        response = connection.response(method)
        behind = connection.until_closed()
        if behind:
            raise Malformed(f"{behind[:100]!r} behind the answer")
        return response


def answers_in(data: bytes, methods: Iterable[str] = ()) -> list[Response]:
    """
    :param data: all that a role has sent on one connection.
    :param methods: of the requests, ``GET`` where there are no more.
    :return: the responses that it consists of.
    """
    buffer, found, kinds = bytearray(data), [], iter(methods)
    while buffer:
        answer = Answer(lambda _: b"", buffer, next(kinds, "GET"))
        answer.head.body = answer.rest()
        found.append(answer.head)
    return found
