"""
Tests for `chatfiles.platform.registry.postgres.connection` that need no server.
"""

from __future__ import annotations

import socket
from typing import Any
from unittest import mock

import psycopg2
from psycopg2.extensions import POLL_OK
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


class Libpq:
    """
    A connection of psycopg2 whose server has ended.

    :param reports: whether psycopg2 reports that libpq has closed the socket.
    """

    def __init__(self, reports: bool) -> None:
        self.closed = 0
        self.notifies: list[object] = []
        self.sends = True
        self._reports = reports
        self._socket, self._server = socket.socketpair()

    def fileno(self) -> int:
        """See psycopg2."""
        return self._socket.fileno()

    def poll(self) -> Any:
        """Succeed once; after that, the server has ended."""
        if self._socket.fileno() < 0:
            raise psycopg2.OperationalError("server closed the connection unexpectedly")
        return POLL_OK

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
        following, other = socket.socketpair()
        self.addCleanup(following.close)
        self.addCleanup(other.close)
        self.assertEqual(following.fileno(), before)
        reactor.addReader(following)
        self.assertIn(following, reactor.getReaders())
