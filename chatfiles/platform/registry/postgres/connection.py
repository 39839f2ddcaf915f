"""
One connection to PostgreSQL, and what is said of its errors.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, new_type, register_type
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from txpostgres.txpostgres import Connection, UnexpectedPollResult

__all__ = ["LINK_ERRORS", "PostgresConnection", "PostgresError", "Values", "described"]

Values = Mapping[str, object]

#: What a statement, or a connection, may fail with.
LINK_ERRORS = (psycopg2.Error, CancelledError, ConnectionDone, ConnectionLost, UnexpectedPollResult)

#: OIDs of ``timestamp`` and ``timestamptz``: read as text, because Python has no year 0 or 10000,
#: and no infinity, and one such row would break a whole list.
_MOMENT = new_type((1114, 1184), "CHATFILES_MOMENT", lambda value, _: value)


class PostgresError(Exception):
    """
    What PostgreSQL, or the way to it, failed with, without the values of any row or statement.

    :param sqlstate: the code of the error, if the server told one.
    """

    def __init__(self, text: str, sqlstate: str | None = None) -> None:
        super().__init__(f"{text} ({sqlstate})" if sqlstate else text)
        self.sqlstate = sqlstate


def described(error: BaseException) -> PostgresError:
    """
    :param error: one of `LINK_ERRORS`.
    :return: it, fit for a log.  The full text of an error quotes statements and rows.
    """
    if isinstance(error, CancelledError):
        # txpostgres makes it of "canceling statement due to statement timeout".
        return PostgresError("the statement took too long, or waited too long for a lock", "57014")
    if not isinstance(error, psycopg2.Error):
        return PostgresError("the connection was closed")
    text = error.diag.message_primary if error.pgcode else None
    if not text:
        lines = str(error).strip().splitlines()
        text = lines[0] if lines and error.pgcode is None else type(error).__name__
    return PostgresError(text, error.pgcode)


class _AtOnce:
    """Hands out notifications in order and without delay."""

    def cooperate(self, work: Iterator[object]) -> None:
        for _ in work:
            pass


class PostgresConnection(Connection):  # type: ignore[misc]
    """
    A connection of txpostgres that ends quietly, and tells.

    Whoever uses it runs one statement at a time.

    :ivar lost: called once when it is lost while no statement runs.
    :ivar standby: whether the server was following another one when this was connected.
    :param reactor: provides ``IReactorFDSet`` and ``IReactorTime``.
    """

    def __init__(self, reactor: object) -> None:
        super().__init__(reactor, cooperator=_AtOnce())
        self.lost: Callable[[], None] = lambda: None
        self.standby: object = False
        self._over = False

    @property
    def usable(self) -> bool:
        """Whether a next statement may be run: connected, and with no transaction open."""
        return (
            not self._over
            and not self._connection.closed
            and self._connection.get_transaction_status() == TRANSACTION_STATUS_IDLE
        )

    @property
    def over(self) -> bool:
        """Whether the connection has ended."""
        return self._over or bool(self._connection.closed)

    def opened(self) -> None:
        """To be called once it is connected."""
        register_type(_MOMENT, self._connection)

    def execute(self, sql: str, values: Values | None = None) -> Deferred[Any]:
        """
        :param sql: one statement, or several; the last one's result counts.
        :return: a cursor with the result; fails with one of `LINK_ERRORS`.
        """
        try:
            answer: Deferred[Any] = self.cursor().execute(sql, values)
        except psycopg2.Error:
            answer = Deferred()
            answer.errback(Failure())
        return answer

    def rows(self, sql: str, values: Values | None = None) -> Deferred[list[tuple[object, ...]]]:
        """:return: the rows that *sql* gives."""
        return self.execute(sql, values).addCallback(_fetch)

    def discard(self) -> None:
        """End it now; a statement that runs fails.  Does nothing the second time."""
        if self._over:
            return
        self._over = True
        if self._connection is None:
            return
        for cursor in tuple(self._cursors):
            # txpostgres forgets them; an epoll reactor does not mind, others would.
            self.reactor.removeReader(cursor)
            self.reactor.removeWriter(cursor)
        with contextlib.suppress(psycopg2.Error):
            self.close()
            # A connection that is broken is closed for txpostgres, but its socket is still open.
            self._connection.close()

    # What txpostgres leaves to whoever looks after the reactor.

    def doRead(self) -> None:
        try:
            super().doRead()
        except psycopg2.Error:
            self._gone()
        except ValueError:
            # libpq has closed the socket, which psycopg2 does not tell yet, and txpostgres would go
            # on reading from it.  Whoever was connecting or asking is told by their Deferred.
            if self.fileno() >= 0:
                raise
            self.discard()
            self.lost()

    def doWrite(self) -> None:
        try:
            super().doWrite()
        except psycopg2.Error:
            self._gone()

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self._gone()

    def _gone(self) -> None:
        # While it is being connected, the Deferred of the attempt tells.
        if not self._over and self._connection.closed:
            self.discard()
            self.lost()


def _fetch(cursor: Any) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = cursor.fetchall()
    return rows
