"""
Sending bytes at once.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.tcp import Connection
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.streams import transports
from chatfiles.streams.transports import send_now


class _Socket:
    """A socket that takes what a test says; records what it was sent."""

    def __init__(self, *takes: int | Exception) -> None:
        self.takes = list(takes)
        self.sent = b""
        self.together = 0

    def send(self, data: bytes) -> int:
        """Take a part of *data*."""
        taken = self.takes.pop(0)
        if isinstance(taken, Exception):
            raise taken
        self.sent += data[:taken]
        return min(taken, len(data))

    def sendmsg(self, pieces: Sequence[bytes | bytearray]) -> int:
        self.together += 1
        return self.send(b"".join(pieces))


class SendNowTests(SynchronousTestCase):
    """`send_now`, on a connection of Twisted's own."""

    def connection(self, *takes: int | Exception) -> Any:
        ours, peer = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(peer.close)
        connection: Any = Connection(ours, None, reactor)  # type: ignore[arg-type]
        connection.connected = 1
        connection.started = 0

        def start() -> None:
            connection.started += 1

        connection.startWriting = start
        if takes:
            connection.socket = _Socket(*takes)
        return connection

    def waiting(self, connection: Any) -> bytes:
        """:return: the bytes that the transport still has to send."""
        data: bytes = connection.dataBuffer[connection.offset :]
        return data + b"".join(connection._tempDataBuffer)

    def test_at_once(self) -> None:
        """Bytes are sent before it returns; the reactor has nothing to do."""
        connection = self.connection(100, 100)
        send_now(connection, b"abc")
        send_now(connection, b"def")
        self.assertEqual((connection.socket.sent, connection.started), (b"abcdef", 0))
        self.assertEqual(self.waiting(connection), b"")

    def test_rest(self) -> None:
        """The transport sends what the socket does not take, from where it stopped."""
        for taken, error in ((1, None), (0, BlockingIOError()), (0, BrokenPipeError())):
            connection = self.connection(error or taken)
            send_now(connection, b"abc")
            self.assertEqual(connection.socket.sent, b"abc"[:taken])
            self.assertEqual(self.waiting(connection), b"abc"[taken:])
            self.assertEqual(connection.started, 1)

    def test_order(self) -> None:
        """Nothing is sent before what was written earlier."""
        connection = self.connection(100)
        connection.write(b"first")
        send_now(connection, b"second")
        self.assertEqual(connection.socket.sent, b"")
        self.assertEqual(self.waiting(connection), b"firstsecond")

    def test_partly_sent(self) -> None:
        """The same while the transport has sent a part of what was written."""
        connection = self.connection(100)
        connection.dataBuffer, connection.offset = b"first", 2
        send_now(connection, b"second")
        self.assertEqual(connection.socket.sent, b"")
        self.assertEqual(self.waiting(connection), b"rstsecond")

    def test_other_transports(self) -> None:
        """Other transports, such as TLS, are written to."""
        transport = StringTransport()
        send_now(transport, b"abc")
        self.assertEqual(transport.value(), b"abc")

    def test_two_parts(self) -> None:
        """A large second part is not copied, unless the socket takes only a part of all."""
        large = bytearray(b"x" * (transports._JOINED + 1))
        whole = b"head" + large
        for more, together in ((large, 1), (large[1:], 0), (bytes(large), 1), (b"", 0)):
            for taken in (0, 3, 4, 5, len(whole)):
                connection = self.connection(taken)
                send_now(connection, b"head", more)
                self.assertEqual(connection.socket.sent, (b"head" + more)[:taken])
                self.assertEqual(self.waiting(connection), (b"head" + more)[taken:])
                self.assertEqual(connection.socket.together, together)
        transport = StringTransport()
        send_now(transport, b"head", large)
        self.assertEqual(transport.value(), whole)

    def test_several_pieces(self) -> None:
        """Several pieces keep their order, wherever the socket stops."""
        large = b"x" * (transports._JOINED + 1)
        whole = b"5\r\n" + large + b"\r\n"
        for taken in (0, 1, 3, 4, len(whole) - 2, len(whole) - 1, len(whole)):
            connection = self.connection(taken)
            send_now(connection, b"5\r\n", large, b"\r\n")
            self.assertEqual(connection.socket.sent, whole[:taken])
            self.assertEqual(self.waiting(connection), whole[taken:])

    def test_closed(self) -> None:
        """A connection that is gone ignores the bytes, like ``write``."""
        connection = self.connection(OSError(9, "bad descriptor"))
        connection.connected = 0
        send_now(connection, b"abc")
        self.assertEqual(self.waiting(connection), b"")

    @given(st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=4), st.integers(0, 5))))
    def test_never_reordered(self, steps: list[tuple[bool, bytes, int]]) -> None:
        """However writes are mixed, all bytes are sent or wait, once and in order."""
        connection = self.connection(*[taken for _, _, taken in steps] or [0])
        for now, data, _ in steps:
            send_now(connection, data) if now else connection.write(data)
        sent = connection.socket.sent + self.waiting(connection)
        self.assertEqual(sent, b"".join(data for _, data, _ in steps))
