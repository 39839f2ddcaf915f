"""
What the peer of a connection has taken.
"""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.streams.delivery import DeliveryMeter
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

    def test_tcp(self) -> None:
        """What was sent has been taken, or is pending."""
        ours, theirs = self.pair()
        meter = DeliveryMeter(transport(ours))
        ours.send(b"x" * 1000)
        self.assertEqual(len(theirs.recv(1000, socket.MSG_WAITALL)), 1000)
        self.assertGreater(self.fill(ours), 65536)
        self.assertGreater(meter.pending, 0)
        self.assertEqual((meter.is_lost, meter.is_closed), (False, False))

    def test_reset(self) -> None:
        """After a reset by the peer, the socket still says what it had taken."""
        ours, theirs = self.pair()
        meter = DeliveryMeter(transport(ours))
        sent = self.fill(ours)
        reset_on_close(theirs)
        theirs.close()
        self.assertRaises(ConnectionResetError, ours.recv, 1)
        meter.record()
        taken, pending = meter.state
        assert taken is not None
        ours.close()
        self.assertTrue(meter.is_lost)
        self.assertTrue(0 < pending < sent)
        self.assertIn(taken + pending, (sent, sent + 1))  # the kernel may count the SYN
        meter.record()  # once
        self.assertEqual(meter.state, (taken, pending))

    def test_unix(self) -> None:
        """A Unix socket counts what the peer has not read, and has no sum."""
        ours, theirs = self.pair(unix=True)
        meter = DeliveryMeter(transport(ours))
        ours.send(b"hello")
        self.assertIsNone(meter.taken)
        self.assertGreater(meter.pending, 0)
        theirs.recv(5)
        self.assertEqual(meter.pending, 0)

    def test_closed(self) -> None:
        """A connection that is closed without a loss has delivered everything."""
        ours, _ = self.pair()
        meter = DeliveryMeter(transport(ours))
        ours.send(b"hello")
        ours.close()
        self.assertEqual((meter.pending, meter.taken, meter.is_closed), (0, None, True))

    def test_no_socket(self) -> None:
        """A transport in memory has nothing pending."""
        meter = DeliveryMeter(StringTransport())
        self.assertEqual((meter.pending, meter.is_closed), (0, True))
