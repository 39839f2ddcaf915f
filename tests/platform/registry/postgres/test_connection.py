"""
Tests for `chatfiles.platform.registry.postgres.connection` that need no server.
"""

from __future__ import annotations

import fcntl
import socket
from typing import Any
from unittest import mock

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ, POLL_WRITE
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.platform.registry.postgres.connection import PostgresConnection


class ConnectTests(SynchronousTestCase):
    """An attempt to connect."""

    def connect(self, *, closed: bool) -> Any:
        """:return: the result of an attempt; *closed* says whether libpq closed the socket."""
        libpq = mock.Mock(closed=closed, poll=mock.Mock(return_value=POLL_OK))
        reactor = mock.Mock()
        reactor.callLater.side_effect = lambda _, call, *arguments: call(*arguments)
        reactor.addReader.side_effect = ValueError("no descriptor")
        connection = PostgresConnection(reactor)
        connection.connectionFactory = lambda *_, **__: libpq
        return connection.connect(dsn="")

    def test_closed_meanwhile(self) -> None:
        """
        If the server closes a connection at once, the error is `ConnectionLost`, which is not
        logged as a defect.
        """
        self.failureResultOf(self.connect(closed=True), ConnectionLost)

    def test_defect(self) -> None:
        """A defect is raised as it is, and does not count as an unavailable server."""
        self.failureResultOf(self.connect(closed=False), ValueError)


#: No thread that another test has left opens a descriptor with this number, or a greater one.
UNUSED = 600


def at_least(found: socket.socket, number: int) -> socket.socket:
    """:return: a copy whose descriptor is the first unused one that is not below *number*."""
    return socket.socket(fileno=fcntl.fcntl(found, fcntl.F_DUPFD_CLOEXEC, number))


class Libpq:
    """
    A connection of psycopg2 whose server has ended.

    :param reports: whether psycopg2 reports that libpq has closed the socket.
    """

    def __init__(self, reports: bool) -> None:
        self.closed = 0
        self.notifies: list[object] = []
        self.sends = True
        self.polls: list[int] = [POLL_OK]
        self._reports = reports
        near, self._server = socket.socketpair()
        with near:
            self._socket = at_least(near, UNUSED)

    def fileno(self) -> int:
        """See psycopg2."""
        return self._socket.fileno()

    def poll(self) -> Any:
        """Return what is in `polls`; after that, the server has ended."""
        if not self.polls:
            self.close()
            self.closed = 0
            raise psycopg2.OperationalError("server closed the connection unexpectedly")
        return self.polls.pop(0)

    def cursor(self) -> Any:
        """:return: a cursor."""
        return mock.Mock(execute=self._execute)

    def _execute(self, *_: object) -> None:
        self.close()
        self.closed = 2 if self._reports else 0
        if not self.sends:
            raise psycopg2.OperationalError("could not send")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        self._server.close()
        self.closed = 1


class SocketTests(SynchronousTestCase):
    """The socket, which libpq closes by itself if the server has ended."""

    def test_closed_by_libpq(self) -> None:
        """The reactor does not keep it, and serves the next socket with the same number."""
        for reports in (True, False):
            for sends in (True, False):
                self.fail_to_execute(Libpq(reports), sends)

    def fail_to_execute(self, libpq: Libpq, sends: bool) -> None:
        """Execute a statement, which fails, and discard the connection."""
        reactor = EPollReactor()
        connection = PostgresConnection(reactor)
        connection.connectionFactory = lambda *_, **__: libpq
        connected = connection.connect()
        reactor.runUntilCurrent()
        self.successResultOf(connected)
        before, libpq.sends = libpq.fileno(), sends
        executed = connection.execute("SELECT 1")
        reactor.runUntilCurrent()
        self.failureResultOf(executed, psycopg2.OperationalError)
        connection.discard()
        self.assertNotIn(connection, reactor.getReaders())
        following = self.socket_with(before)
        reactor.addReader(following)
        self.assertIn(following, reactor.getReaders())

    def socket_with(self, number: int) -> socket.socket:
        """:return: a socket with this number."""
        lower, other = socket.socketpair()
        self.addCleanup(other.close)
        with lower:
            found = at_least(lower, number)
        self.addCleanup(found.close)
        self.assertEqual(found.fileno(), number)
        return found

    def test_closed_during_connect(self) -> None:
        """
        If the server ends while libpq connects, the reactor serves the next socket with the same
        number, and still does when the connection is discarded.
        """
        libpq, reactor = Libpq(reports=False), EPollReactor()
        connection = PostgresConnection(reactor)
        connection.connectionFactory = lambda *_, **__: libpq
        libpq.polls = [POLL_READ, POLL_WRITE]
        connected = connection.connect()
        connection.doRead()
        self.assertIn(connection, reactor.getWriters())
        number = libpq.fileno()
        connection.doWrite()
        following = self.socket_with(number)
        reactor.addReader(following)
        reactor.runUntilCurrent()
        self.failureResultOf(connected, psycopg2.OperationalError)
        connection.discard()
        self.assertIn(following, reactor.getReaders())
