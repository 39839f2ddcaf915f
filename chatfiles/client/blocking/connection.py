"""
One HTTP/1.1 request and its response on a socket, parsed by h11.

The response is read while the request is sent.  A server that refuses an upload responds early,
reads a little more, and closes the connection.  A client that reads only after it has sent
everything gets a broken pipe and loses that response.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress

import h11

__all__ = ["Connection", "ResponseBegun"]

#: Maximum bytes of one read or write.
BLOCK = 256 * 1024
#: Maximum bytes of a response's headers, of one chunk-size line, or of a trailer section.
HEAD_LIMIT = 64 * 1024
#: The most interim responses (1xx) before a response.
INTERIM_LIMIT = 1000

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [0-9]{3}")
_INTERIM = re.compile(rb"HTTP/1\.[01] 1")
_LENGTH = re.compile(rb"(?im)^content-length[ \t]*:([^\r\n]*)")
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class ResponseBegun(Exception):
    """The server has begun its response: stop sending, and read it."""


class Connection:
    """
    The client's side of one request and its response.

    Every method may raise `OSError` if the connection fails, `TimeoutError` if it makes no
    progress, and `h11.RemoteProtocolError` if the server does not speak HTTP/1.1.

    :param sock: connected to the server or its proxy; `close` closes it.
    :param timeout: seconds without a byte sent or received after which an operation fails.
    :ivar ended: whether the server has closed its side.
    """

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        self.ended = False
        self._socket = sock
        self._timeout = timeout
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
        self._head = b""  # the part of a response's headers that has arrived
        self._response: h11.Response | None = None
        self._interim = 0
        self._expects = False
        self._continued = False
        sock.settimeout(0)

    def send(self, event: h11.Event) -> None:
        """
        Send the headers, a part of the body, or its end.

        :raise ResponseBegun: the server has responded before the end of the request.
        """
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            self._expects = not names.isdisjoint({b"content-length", b"transfer-encoding"})
        rest = memoryview(self._http.send(event) or b"")
        while rest:
            ready = self._poll(select.POLLIN | select.POLLOUT, self._timeout)
            if not ready:
                raise TimeoutError("timed out")
            if ready & ~select.POLLOUT:
                self._receive_available()
            if ready & select.POLLOUT:
                rest = rest[self._write(rest[:BLOCK]) :]

    def wait_for_continue(self, seconds: float) -> None:
        """
        Wait for ``100 Continue``, which not every server sends (RFC 9110, 10.1.1).

        :param seconds: how long to wait at most.
        :raise ResponseBegun: the server has sent a final response, so it does not need the body.
        """
        deadline = time.monotonic() + seconds
        while not self._continued and (left := deadline - time.monotonic()) > 0:
            if self._poll(select.POLLIN, left):
                self._receive_available()

    def wait_readable(self, descriptor: int) -> None:
        """
        Wait, without a limit, until *descriptor* can be read without blocking.

        :raise ResponseBegun: the server has responded before that.
        """
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(descriptor, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll()]
            if self._socket.fileno() in ready:
                self._receive_available()
            if descriptor in ready:
                return

    def response(self) -> h11.Response:
        """:return: the status and headers of the final response, once they have arrived."""
        self._socket.settimeout(self._timeout)
        while self._response is None:
            self._receive(self._socket.recv(BLOCK))
        return self._response

    def body(self) -> Iterator[bytes]:
        """:return: the bytes of the response's body, which is complete when the iterator ends."""
        while not isinstance(event := self._http.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                yield event.data
            else:
                data = self._socket.recv(BLOCK)
                self.ended = not data
                self._http.receive_data(data)

    def renew(self) -> bool:
        """
        Prepare for another request, if the response has been read to its end.

        :return: whether the connection can be used for it.
        """
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self._response, self._head, self._continued, self._interim = None, b"", False, 0
        self._socket.settimeout(0)
        return not self._http.trailing_data[0]

    def is_idle(self) -> bool:
        """:return: whether nothing has come since the last response, not even the end."""
        return not self.ended and not self._poll(select.POLLIN, 0)

    def abort(self) -> None:
        """End the connection while another thread may wait for it; that thread gets an error."""
        with suppress(OSError):
            # Not the method of `ssl.SSLSocket`: after that, it would return encrypted bytes.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _poll(self, events: int, seconds: float) -> int:
        poll = select.poll()
        poll.register(self._socket, events)
        ready = poll.poll(seconds * 1000)
        return ready[0][1] if ready else 0

    def _write(self, data: memoryview) -> int:
        try:
            return self._socket.send(data)
        except _NOT_NOW:
            return 0
        except OSError:  # a response that arrived before the reset says why
            self._receive_available()
            raise

    def _receive_available(self) -> None:
        """
        Read the bytes that have arrived, without waiting.

        :raise ResponseBegun: they are more than interim responses.
        """
        while True:
            try:
                data = self._socket.recv(BLOCK)
            except _NOT_NOW:
                return
            self._receive(data)
            if self._response or (b"\n" in self._head and not _INTERIM.match(self._head)):
                raise ResponseBegun

    def _receive(self, data: bytes) -> None:
        """
        Parse *data*, up to the headers of the final response.

        :param data: empty if the server has closed its side.
        """
        # A request with a body may get ``100 Continue``.
        if not data and self._interim > self._expects:
            raise h11.RemoteProtocolError("only interim responses came")
        if not data:
            raise ConnectionResetError("the connection was closed before the response")
        self._head += data
        self._http.receive_data(data)
        while isinstance(
            event := self._http.next_event(), (h11.InformationalResponse, h11.Response)
        ):
            rest = self._http.trailing_data[0]
            if isinstance(event, h11.Response):
                _check_lengths(self._head[: len(self._head) - len(rest)])
                self._response = event
                return
            self._continued = self._continued or event.status_code == 100
            self._head = rest
            self._interim += 1
            if self._interim > INTERIM_LIMIT:
                raise h11.RemoteProtocolError("too many interim responses")
        if b"\n" in self._head and not _STATUS_LINE.match(self._head):
            raise h11.RemoteProtocolError("not a status line")


def _check_lengths(head: bytes) -> None:
    """
    Check that there is at most one length (RFC 9110, 8.6): h11 accepts one that is repeated.

    :raise h11.RemoteProtocolError: there is more than one.
    """
    lengths = _LENGTH.findall(head)
    if len(lengths) > 1 or b"," in b"".join(lengths):
        raise h11.RemoteProtocolError("more than one Content-Length")
