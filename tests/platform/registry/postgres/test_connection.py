"""
Tests for `chatfiles.platform.registry.postgres.connection` that need no server.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

from psycopg2.extensions import POLL_OK
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
