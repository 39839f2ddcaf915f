"""
Tests for `chatfiles.streams.bulk_splice`.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.tcp import Connection
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.streams.bulk_splice import BulkMover
from chatfiles.streams.pipe import Pipes

#: More than a socket of these tests takes at once.
LARGE = os.urandom(4 << 20)


class BulkMoverTests(SynchronousTestCase):
    """Two transports of Twisted's own, each with its peer."""

    def setUp(self) -> None:
        self.source, self.sender = self.connection()
        self.target, self.receiver = self.connection()
        self.mover = BulkMover()
        self.addCleanup(self.mover.close)
        self.assertTrue(self.mover.works(self.source, self.target))

    def connection(self) -> tuple[Any, socket.socket]:
        """:return: a transport whose peer takes 200 KiB at least, and the peer."""
        ours, peer = socket.socketpair()
        for each in (ours, peer):
            self.addCleanup(each.close)
            each.setblocking(False)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200 * 1024)
        connection: Any = Connection(ours, None, reactor)  # type: ignore[arg-type]
        connection.connected = 1
        connection.startWriting = lambda: None
        return connection, peer

    def received(self) -> bytes:
        """:return: what the peer of the target has received."""
        data = b""
        try:
            while piece := self.receiver.recv(1 << 20):
                data += piece
        except BlockingIOError:
            pass
        return data

    def unsent(self) -> int:
        """:return: number of bytes that the target has to send."""
        count: int = len(self.target.dataBuffer) + self.target._tempDataLen
        return count

    def test_moved(self) -> None:
        """What has arrived is at the peer before the call returns."""
        self.sender.send(b"a body")
        self.mover.move(self.source, self.target)
        self.assertEqual(self.received(), b"a body")
        self.mover.move(self.source, self.target)
        self.assertEqual(self.received(), b"")

    def test_full(self) -> None:
        """The target's transport gets what its socket does not take; then nothing is moved."""
        sent = 0
        while not self.unsent():
            sent += self.sender.send(LARGE[sent:])
            self.mover.move(self.source, self.target)
        waiting = self.unsent()
        sent += self.sender.send(b"behind it")
        data = self.received()  # so the socket has room, but there is something before
        self.mover.move(self.source, self.target)
        self.assertEqual((self.unsent(), self.received()), (waiting, b""))
        while len(data) < sent:
            self.target.doWrite()
            self.mover.move(self.source, self.target)
            data += self.received()
        self.assertEqual(data, LARGE[: sent - 9] + b"behind it")

    def test_end(self) -> None:
        """The end is left to the source's transport."""
        self.sender.send(b"last")
        self.sender.shutdown(socket.SHUT_WR)
        self.mover.move(self.source, self.target)
        self.assertEqual(self.received(), b"last")
        self.assertEqual(self.source.socket.recv(1), b"")

    def test_source_fails(self) -> None:
        """A reset of the source must not look like its end, after all that came before it."""
        aborted: list[bool] = []
        self.source.abortConnection = lambda: aborted.append(True)
        self.sender.send(b"part")
        self.mover.move(self.source, self.target)
        self.assertEqual((self.received(), aborted), (b"part", []))
        self.source.socket.send(b"unread")
        self.sender.close()  # what it has not read makes it a reset
        self.mover.move(self.source, self.target)
        self.assertEqual(aborted, [True])

    def test_target_fails(self) -> None:
        """If the target's connection has failed, its transport finds out."""
        self.sender.send(b"lost")
        self.receiver.close()
        self.mover.move(self.source, self.target)
        self.assertEqual(self.unsent(), 4)
        again, self.receiver = self.connection()
        self.sender.send(b"next")
        self.mover.move(self.source, again)
        self.assertEqual(self.received(), b"next")

    def test_does_not_work(self) -> None:
        """Transports without a socket, or without a pipe, copy bytes themselves."""
        self.assertFalse(self.mover.works(self.source, StringTransport()))
        self.assertFalse(BulkMover(Pipes(0)).works(self.source, self.target))
