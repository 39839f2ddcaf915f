"""
What the peer of a connection has taken.
"""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.streams.delivery_meter import DeliveryMeter
from tests.support.loopback import reset_on_close


def transport(end: socket.socket) -> Any:
    """:return: a transport with this socket."""
    return SimpleNamespace(getHandle=lambda: end)


class DeliveryTests(SynchronousTestCase):
    """Connections of each kind, with a peer that reads nothing."""

    def pair(self, *, unix: bool = False) -> tuple[socket.socket, socket.socket]:
        """:return: our end, and that of the peer."""
        if unix:
            ours, theirs = socket.socketpair()
        else:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
            listener.close()
        for end in (ours, theirs):
            self.addCleanup(end.close)
        ours.setblocking(False)
        return ours, theirs

    def fill(self, end: socket.socket) -> int:
        """:return: the bytes that were sent until the socket was full."""
        sent = 0
        while True:
            try:
                sent += end.send(b"x" * 65536)
            except BlockingIOError:
                return sent

    def meter(self, end: Any, written: int) -> DeliveryMeter:
        """:return: a meter of a connection to which so many bytes were written."""
        meter = DeliveryMeter(transport(end))
        meter.written = written
        return meter

    def test_tcp(self) -> None:
        """What was sent has been taken, or not yet."""
        ours, theirs = self.pair()
        meter = self.meter(ours, 1000)
        ours.send(b"x" * 1000)
        self.assertEqual(len(theirs.recv(1000, socket.MSG_WAITALL)), 1000)
        while meter.taken < 1000:  # the acknowledgement is on its way
            pass
        meter.written += self.fill(ours)
        self.assertTrue(1000 < meter.taken < meter.written)
        self.assertTrue(meter.is_open)

    def test_reset(self) -> None:
        """After a reset by the peer, the socket still says what it had taken."""
        ours, theirs = self.pair()
        meter = self.meter(ours, self.fill(ours))
        reset_on_close(theirs)
        theirs.close()
        self.assertRaises(ConnectionResetError, ours.recv, 1)
        meter.record()
        ours.close()
        taken = meter.taken
        self.assertTrue(0 < taken < meter.written)
        self.assertFalse(meter.is_open)
        meter.record()  # once
        meter.written += 100
        self.assertEqual(meter.taken, taken)

    def test_unix(self) -> None:
        """Of a Unix socket, what the peer has read counts."""
        ours, theirs = self.pair(unix=True)
        meter = self.meter(ours, 5)
        ours.send(b"hello")
        self.assertEqual(meter.taken, 0)
        theirs.recv(5)
        self.assertEqual(meter.taken, 5)

    def test_closed(self) -> None:
        """A connection that is closed without a loss has delivered what its socket took."""
        ours, _ = self.pair()
        meter = self.meter(ours, 5)
        ours.send(b"hello")
        ours.close()
        self.assertEqual((meter.taken, meter.is_open), (5, False))

    def test_no_socket(self) -> None:
        """A transport in memory has taken everything."""
        meter = DeliveryMeter(StringTransport())
        meter.written = 5
        self.assertEqual((meter.taken, meter.is_open), (5, False))
