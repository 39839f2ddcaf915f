"""
One connection to PostgreSQL, and its errors without secrets.
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

__all__ = ["CONNECTION_ERRORS", "PostgresConnection", "PostgresError", "Values", "sanitized_error"]

Values = Mapping[str, object]

#: The errors of a statement or a connection.
CONNECTION_ERRORS = (
    psycopg2.Error,
    CancelledError,
    ConnectionDone,
    ConnectionLost,
    UnexpectedPollResult,
)

#: The types ``timestamp`` and ``timestamptz`` (by OID) are read as text: Python has neither year 0
#: nor 10000 nor infinity, and one such row would break a whole list.
_TIMESTAMP = new_type((1114, 1184), "CHATFILES_TIMESTAMP", lambda value, _: value)


class PostgresError(Exception):
    """
    An error of PostgreSQL or of the connection to it, without the values of any row or statement.

    :param sqlstate: the error code, if the server sent one.
    """

    def __init__(self, text: str, sqlstate: str | None = None) -> None:
        super().__init__(f"{text} ({sqlstate})" if sqlstate else text)
        self.sqlstate = sqlstate


def sanitized_error(error: BaseException) -> PostgresError:
    """
    :param error: one of `CONNECTION_ERRORS`.  Its full text may quote statements and rows.
    :return: an error that may be logged.
    """
    if isinstance(error, CancelledError):
        # txpostgres converts to it "canceling statement due to statement timeout".
        return PostgresError("the statement took too long, or waited too long for a lock", "57014")
    if not isinstance(error, psycopg2.Error):
        return PostgresError("the connection was closed")
    text = error.diag.message_primary if error.pgcode else None
    if not text:
        lines = str(error).strip().splitlines()
        text = lines[0] if lines and error.pgcode is None else type(error).__name__
    return PostgresError(text, error.pgcode)


class _ImmediateCooperator:
    """Delivers notifications in order and without delay."""

    def cooperate(self, work: Iterator[object]) -> None:
        for _ in work:
            pass


class PostgresConnection(Connection):  # type: ignore[misc]
    """
    A connection of txpostgres that reports its loss and closes without errors.

    It runs one statement at a time.

    :ivar on_lost: called once when the connection is lost while no statement runs.
    :ivar is_standby: whether the server was a standby when the connection was opened.
    :param reactor: provides ``IReactorFDSet`` and ``IReactorTime``.
    """

    def __init__(self, reactor: object) -> None:
        super().__init__(reactor, cooperator=_ImmediateCooperator())
        self.on_lost: Callable[[], None] = lambda: None
        self.is_standby: object = False
        self._is_closed = False

    @property
    def is_usable(self) -> bool:
        """Whether a statement may be run: connected, and no transaction is open."""
        return (
            not self._is_closed
            and not self._connection.closed
            and self._connection.get_transaction_status() == TRANSACTION_STATUS_IDLE
        )

    @property
    def is_closed(self) -> bool:
        """Whether the connection was closed or lost."""
        return self._is_closed or bool(self._connection.closed)

    def connect(self, **parameters: object) -> Deferred[Any]:
        """
        :param parameters: of libpq.
        :return: fires when it is connected; fails with one of `CONNECTION_ERRORS`.
        """
        connected: Deferred[Any] = super().connect(**parameters)
        return connected.addErrback(self._connect_failed)

    def _connect_failed(self, failure: Failure) -> Failure:
        # txpostgres adds the socket to the reactor even if it was closed meanwhile.
        if failure.check(ValueError) and self.is_closed:
            return Failure(ConnectionLost())
        return failure

    def configure_types(self) -> None:
        """Register the types of results; call this once, after it is connected."""
        register_type(_TIMESTAMP, self._connection)

    def execute(self, sql: str, values: Values | None = None) -> Deferred[Any]:
        """
        :param sql: one or several statements.
        :return: a cursor with the result of the last one; fails with one of `CONNECTION_ERRORS`.
        """
        # If it cannot send, libpq closes the socket, which the reactor must not know then.
        self.reactor.removeReader(self)
        try:
            result: Deferred[Any] = self.cursor().execute(sql, values)
        except psycopg2.Error:
            result = Deferred()
            result.errback(Failure())
        return result.addErrback(self._not_executed)

    def _not_executed(self, failure: Failure) -> Failure:
        if self._has_socket:
            self.reactor.addReader(self)
        return failure

    @property
    def _has_socket(self) -> bool:
        return not self.is_closed and self.fileno() >= 0

    def cursorFinished(self, cursor: object) -> None:
        """A statement has ended; if libpq has closed the socket, it is not added to the reactor."""
        if self._has_socket:
            super().cursorFinished(cursor)
        else:
            self._cursors.discard(cursor)

    def rows(self, sql: str, values: Values | None = None) -> Deferred[list[tuple[object, ...]]]:
        """:return: fires with the result rows of *sql*; fails as `execute`."""
        return self.execute(sql, values).addCallback(_fetch)

    def discard(self) -> None:
        """Close it at once; a running statement fails.  Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._connection is None:
            return
        for cursor in tuple(self._cursors):
            # txpostgres does not do this, which only an epoll reactor tolerates.
            self.reactor.removeReader(cursor)
            self.reactor.removeWriter(cursor)
        with contextlib.suppress(psycopg2.Error):
            self.close()
            # txpostgres regards a broken connection as closed, but its socket is still open.
            self._connection.close()

    def continuePolling(self, swallowErrors: bool = False) -> None:
        """
        Let libpq continue.  It may close the socket, and open another one with the same number, so
        the reactor does not know the socket meanwhile.
        """
        self.reactor.removeReader(self)
        self.reactor.removeWriter(self)
        super().continuePolling(swallowErrors)

    # txpostgres lets these errors propagate to the reactor.

    def doRead(self) -> None:
        """The socket can be read."""
        try:
            super().doRead()
        except psycopg2.Error:
            self._check_lost()
        except ValueError:
            # libpq has closed the socket.  psycopg2 does not report this yet, and txpostgres would
            # continue to read from it.  The Deferred of a running connect or statement fails.
            if self.fileno() >= 0:
                raise
            self.discard()
            self.on_lost()

    def doWrite(self) -> None:
        """The socket can be written to."""
        try:
            super().doWrite()
        except psycopg2.Error:
            self._check_lost()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has lost the socket."""
        super().connectionLost(reason)
        self._check_lost()

    def _check_lost(self) -> None:
        # During the attempt to connect, its Deferred reports the failure.
        if not self._is_closed and self._connection.closed:
            self.discard()
            self.on_lost()


def _fetch(cursor: Any) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = cursor.fetchall()
    return rows
