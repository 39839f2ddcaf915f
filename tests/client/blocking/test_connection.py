"""
One request and its response on a socket, which is read while it is written.
"""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from collections.abc import Callable
from functools import partial
from http.client import HTTPResponse

import h11
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.client.blocking import connection
from chatfiles.client.blocking.connection import Connection, ResponseBegun

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\nLink: </y>\r\n\r\n"
ANSWER = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!"
REQUEST = h11.Request(
    method="POST", target="/", headers=[("Host", "h"), ("Transfer-Encoding", "chunked")]
)


def meanwhile(work: Callable[[], object]) -> threading.Thread:
    """:return: a thread, started, that does *work* at the other end."""

    def run() -> None:
        with contextlib.suppress(ConnectionError):
            work()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def block(size: int) -> h11.Data:
    return h11.Data(data=b"x" * size)


class ConnectionTests(SynchronousTestCase):
    """`Connection`, over a socket pair."""

    def setUp(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.addCleanup(self.theirs.close)
        self.connection = Connection(ours, 20)
        self.addCleanup(self.connection.close)
        self.connection.send(REQUEST)
        self.theirs.recv(65536)

    def test_renewed(self) -> None:
        """A connection can be used again if the response has been read to its end."""
        self.connection.send(h11.EndOfMessage())
        self.theirs.sendall(ANSWER)
        self.connection.response()
        self.assertFalse(self.connection.renew())
        self.assertEqual(b"".join(self.connection.body()), b"no!")
        self.assertTrue(self.connection.renew())
        self.assertTrue(self.connection.is_idle())
        self.connection.send(REQUEST)
        self.connection.send(h11.EndOfMessage())
        self.assertTrue(self.theirs.recv(65536).startswith(b"0\r\n\r\nPOST"))
        self.theirs.sendall(ANSWER + ANSWER)
        self.connection.response()
        self.assertEqual(b"".join(self.connection.body()), b"no!")
        self.assertFalse(self.connection.renew())

    def test_not_idle(self) -> None:
        """A connection that has ended, or on which more has come, is not idle."""
        self.theirs.close()
        self.assertFalse(self.connection.is_idle())

    def test_not_renewed(self) -> None:
        """A connection that the server closes after this response is not used again."""
        self.connection.send(h11.EndOfMessage())
        self.theirs.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self.connection.response()
        self.assertEqual(b"".join(self.connection.body()), b"")
        self.assertFalse(self.connection.renew())

    def body(self) -> bytes:
        """:return: the body, once the other end has interrupted the request."""
        self.connection.response()
        return b"".join(self.connection.body())

    def test_sends(self) -> None:
        """A block is sent completely although the other end reads slowly."""
        received = bytearray()

        def take() -> None:
            while not received.endswith(b"\r\n0\r\n\r\n"):
                received.extend(self.theirs.recv(9999))

        self.patch(connection, "BLOCK", 10_000)
        thread = meanwhile(take)
        data = bytes(range(256)) * 8192
        self.connection.send(h11.Data(data=data))
        self.connection.send(h11.EndOfMessage())
        thread.join()
        self.assertEqual(received, b"200000\r\n" + data + b"\r\n0\r\n\r\n")

    def test_continue(self) -> None:
        """
        ``100 Continue`` ends the wait for it, in whatever pieces it arrives; other interim
        responses do not.
        """
        for wire in (CONTINUE, HINTS + CONTINUE, CONTINUE.replace(b"\r\n", b"\n")):
            for cut in range(len(wire)):
                self.connection._continued = False
                self.theirs.send(wire[:cut])
                if cut:
                    self.connection._receive_available()
                self.theirs.send(wire[cut:])
                self.connection.wait_for_continue(10**6)
                self.assertTrue(self.connection._continued)
        self.connection.send(block(1))

    def test_no_continue(self) -> None:
        """The wait for ``100 Continue`` times out, even if half of it has been received."""
        self.connection.wait_for_continue(0.01)
        self.theirs.send(CONTINUE[:-1])
        self.connection.wait_for_continue(0.01)
        self.assertFalse(self.connection._continued)
        self.connection.send(block(1))

    def test_early_response(self) -> None:
        """Sending stops at the response's status line; the response is read from its beginning."""
        for end in (len(ANSWER), ANSWER.index(b"\n") + 1):
            self.setUp()
            self.theirs.send(CONTINUE + HINTS + ANSWER[:end])
            thread = meanwhile(partial(self.theirs.send, ANSWER[end:]))
            self.assertRaises(ResponseBegun, self.connection.send, block(10_000_000))
            self.assertEqual((self.connection.response().status_code, self.body()), (413, b"no!"))
            thread.join()

    def test_early_response_in_pieces(self) -> None:
        """Sending does not stop before the status line is complete."""
        for byte in ANSWER[: ANSWER.index(b"\n")]:
            self.theirs.send(bytes([byte]))
            self.connection._receive_available()
        self.theirs.send(ANSWER[ANSWER.index(b"\n") :])
        self.assertRaises(ResponseBegun, self.connection.wait_for_continue, 10**6)
        self.assertEqual(self.body(), b"no!")

    def test_closed(self) -> None:
        """A connection that is closed without a response raises `ConnectionError`."""
        for wire in (b"", CONTINUE):
            self.setUp()
            self.theirs.send(wire)
            self.theirs.close()
            self.assertRaises(ConnectionError, self.connection.send, block(10_000_000))

    def test_closed_behind_a_response(self) -> None:
        """A response is read although a write has failed before."""
        self.theirs.send(ANSWER)
        self.theirs.close()
        self.assertRaises(ResponseBegun, self.connection._write, memoryview(b"x"))
        self.assertEqual(self.body(), b"no!")

    def test_not_http(self) -> None:
        """A first line that is not HTTP is refused at once, without waiting for more."""
        for wire in (b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/2 200\r\n", b"\x16\x03\x01\n"):
            self.setUp()
            self.theirs.send(wire)
            self.assertRaises(h11.RemoteProtocolError, self.connection.response)

    def test_lengths(self) -> None:
        """
        Repeated Content-Length headers are refused, even if they are equal; a body with such lines
        is not.
        """
        for headers, body in (
            (b"Content-Length: 4\r\nContent-Length: 4\r\n", b"abcd"),
            (b"content-length: 4, 4\r\n", b"abcd"),
        ):
            self.setUp()
            self.theirs.send(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n" + body)
            self.assertRaises(h11.RemoteProtocolError, self.connection.response)
        self.setUp()
        body = b"Content-Length: 1\r\nContent-Length: 1, 2\r\n"
        self.theirs.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        self.assertEqual(self.body(), body)

    def test_flood(self) -> None:
        """The size of the headers is limited."""
        thread = meanwhile(lambda: self.theirs.sendall(b"HTTP/1.1 100 " + b"x" * 2_000_000))
        self.assertRaises(h11.RemoteProtocolError, self.connection.response)
        self.connection.close()
        thread.join()

    def test_nothing_taken(self) -> None:
        """Sending fails after the timeout if the other end does not read."""
        self.connection._timeout = 0.01
        self.assertRaises(TimeoutError, self.connection.send, block(10_000_000))

    def test_no_response(self) -> None:
        """Waiting for a response, or for the rest of its body, fails after the timeout."""
        self.connection._timeout = 0.01
        self.assertRaises(TimeoutError, self.connection.response)
        self.theirs.send(ANSWER[:-1])
        self.assertRaises(TimeoutError, self.body)


class ChunkedTests(SynchronousTestCase):
    """Chunked bodies: complete, or an error."""

    def read(self, wire: bytes) -> bytes:
        """:return: the body of the response *wire*, after which the other end closes."""
        ours, theirs = socket.socketpair()
        theirs.sendall(wire)
        theirs.close()
        reader = Connection(ours, 20)
        try:
            with contextlib.suppress(OSError):  # the other end has closed
                reader.send(REQUEST)
        except ResponseBegun:
            pass
        try:
            reader.response()
            return b"".join(reader.body())
        finally:
            reader.close()

    @given(st.lists(st.integers(1, 300), max_size=4), st.integers(0, 3), st.integers(0, 2000))
    def test_interrupted_anywhere(self, sizes: list[int], zeros: int, cut: int) -> None:
        """
        A body that is interrupted anywhere is an error, whether chunk sizes have leading zeros or
        not.
        """
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunks = [
            b"0" * zeros + b"%x\r\n%s\r\n" % (size, b"y" * size) for size in [*sizes, 0] if size
        ]
        body = b"".join(chunks) + b"0" * zeros + b"0\r\n\r\n"
        self.assertEqual(len(self.read(head + body)), sum(sizes))
        with self.assertRaises(h11.RemoteProtocolError):
            self.read(head + body[: cut % len(body)])

    def test_behind_a_leading_zero(self) -> None:
        """The ``0`` that begins ``004`` is not taken for the last chunk, as `http.client` does."""
        wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n004\r\nabcd\r\n0"
        self.assertRaises(h11.RemoteProtocolError, self.read, wire)
        lenient = HTTPResponse(FakeSocket(wire))  # type: ignore[arg-type]
        lenient.begin()
        self.assertEqual(lenient.read(), b"abcd")  # why the command line does not use it

    def test_malformed(self) -> None:
        """A chunk longer than its size, or a size that is not hexadecimal digits, is an error."""
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for body in (
            b"4\r\nabcde\r\n0\r\n\r\n",
            b"4\r\nabcdXY0\r\n\r\n",
            b"+4\r\nabcd\r\n0\r\n\r\n",
        ):
            self.assertRaises(h11.RemoteProtocolError, self.read, head + body)


class FakeSocket:
    """What `http.client` reads from."""

    def __init__(self, wire: bytes) -> None:
        self._wire = wire

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._wire)
