"""
A listening socket that several processes share: when one of them accepts.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.workers.shared_port import SharedPort


class Reactor(Clock):
    """Notes what is read, and which connections are adopted."""

    def __init__(self) -> None:
        super().__init__()
        self.reading: set[Any] = set()
        self.adopted = 0

    def addReader(self, reader: Any) -> None:
        self.reading.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.reading.discard(reader)

    def adoptStreamConnection(self, fd: int, family: int, factory: Any) -> None:
        assert family == socket.AF_INET
        self.adopted += 1


class Load:
    """The load of a worker, as a test says."""

    ahead = False
    forgotten = False

    def is_ahead(self) -> bool:
        return self.ahead

    def forget(self) -> None:
        self.forgotten = True


class SharedPortTests(SynchronousTestCase):
    """Six clients wait."""

    def setUp(self) -> None:
        self.reactor, self.load = Reactor(), Load()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.port = SharedPort(self.reactor, listener, Factory(), self.load)  # type: ignore[arg-type]
        self.port.startListening()
        self.addCleanup(self.port.stopListening)
        for _ in range(6):
            self.addCleanup(socket.create_connection(listener.getsockname()).close)

    def read(self) -> int:
        """:return: how many connections are accepted before the port pauses."""
        before = self.reactor.adopted
        while self.port in self.reactor.reading and self.reactor.adopted < 6:
            self.port.doRead()
        return self.reactor.adopted - before

    def test_a_few_at_a_time(self) -> None:
        """One turn of the reactor accepts four connections."""
        self.port.doRead()
        self.assertEqual(self.reactor.adopted, 4)

    def test_gets_ahead(self) -> None:
        """A worker that gets ahead of others leaves the next connection to them, without a wait."""
        adopt = self.reactor.adoptStreamConnection

        def adopt_second(*arguments: Any) -> None:
            adopt(*arguments)
            self.load.ahead = self.reactor.adopted == 2

        self.patch(self.reactor, "adoptStreamConnection", adopt_second)
        self.port.doRead()
        self.assertEqual((self.reactor.adopted, self.port in self.reactor.reading), (2, True))

    def test_ahead(self) -> None:
        """A worker that is ahead waits for 5 ms, and then accepts four before it waits again."""
        self.load.ahead = True
        self.assertEqual(self.read(), 0)
        self.reactor.advance(0.004)
        self.assertEqual(self.read(), 0)
        self.reactor.advance(0.001)
        self.assertEqual(self.read(), 4)
        self.reactor.advance(0.005)
        self.assertEqual(self.read(), 2)

    def test_caught_up(self) -> None:
        """It does not wait when it is no longer ahead."""
        self.load.ahead = True
        self.assertEqual(self.read(), 0)
        self.load.ahead = False
        self.reactor.advance(0.005)
        self.assertEqual(self.read(), 6)

    def test_stop(self) -> None:
        """A port that is closed while it waits does not read again, and nobody waits for it."""
        self.load.ahead = True
        self.read()
        self.port.stopListening()
        self.reactor.advance(1)
        self.assertEqual((self.reactor.reading, self.load.forgotten), (set(), True))
