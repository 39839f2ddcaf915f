"""
Runs the registry's queries on a PostgreSQL connection, with or without a transaction.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import psycopg2
from psycopg2.errorcodes import NOT_NULL_VIOLATION

from chatfiles.errors import BadRequest, ChatfilesError
from chatfiles.platform.registry.constraint_errors import constraint_error
from chatfiles.platform.registry.postgres.connection import (
    CONNECTION_ERRORS,
    PostgresConnection,
    PostgresError,
    sanitized_error,
)
from chatfiles.platform.registry.queries import Change, Rows, Session, Values
from chatfiles.platform.registry.rows import utc
from chatfiles.platform.registry.statements import POSTGRES

__all__ = ["PostgresSession", "PostgresTransaction", "in_transaction"]

T = TypeVar("T")


class PostgresSession:
    """
    A `chatfiles.platform.registry.queries.Session` in which each statement commits by itself.

    :param connection: used by this session only, until it ends.
    """

    sql = POSTGRES

    def __init__(self, connection: PostgresConnection) -> None:
        self._connection = connection

    async def rows(self, sql: str, values: Values | None = None) -> Rows:
        """:return: the result rows of *sql*."""
        rows: Rows = (await self._execute(sql, values)).fetchall()
        return rows

    async def count(self, sql: str, values: Values) -> int:
        """:return: how many rows *sql* has changed."""
        changed: int = (await self._execute(sql, values)).rowcount
        return changed

    async def touch(self, sql: str, moments: Mapping[UUID, datetime]) -> None:
        """Execute *sql* once for all rows."""
        values = {
            "ids": [str(each) for each in moments],
            "moments": [utc(moment) for moment in moments.values()],
        }
        await self._execute(sql, values)

    async def _execute(self, sql: str, values: Values | None) -> Any:
        try:
            return await self._connection.execute(sql, values)
        except (ValueError, UnicodeError):
            # psycopg2 refuses NUL and text that is not valid Unicode before it sends anything.
            raise BadRequest("text with characters that cannot be stored") from None


class PostgresTransaction(PostgresSession):
    """
    Statements in one transaction, which begins with the first of them.

    A value that a column does not accept (SQLSTATE class 22) is a `BadRequest`.

    The server decides whether it is read-only: a standby, or a database that an operator has made
    read-only, rejects the first write.
    """

    _begin = "BEGIN ISOLATION LEVEL READ COMMITTED;"

    async def commit(self) -> None:
        """Commit all statements so far."""
        await self._connection.execute("COMMIT")

    async def roll_back(self) -> None:
        """Undo all statements.  If this fails, the connection is not used again."""
        with contextlib.suppress(*CONNECTION_ERRORS):
            await self._connection.execute("ROLLBACK")

    async def _execute(self, sql: str, values: Values | None) -> Any:
        begin, self._begin = self._begin, ""
        try:
            return await super()._execute(begin + sql, values)
        except psycopg2.DataError as error:
            # The values come from clients; tables of other programs may have enums and varchars.
            raise BadRequest(
                "the registry does not take one of these values", code="invalid_field"
            ) from error


async def in_transaction(
    connection: PostgresConnection,
    work: Callable[[Session], Awaitable[Change[T]]],
    *,
    is_wanted: Callable[[], bool],
) -> Change[T]:
    """
    Do *work* in a transaction.

    :param is_wanted: called before the commit; returns whether a client still waits for the result.
        If not, the transaction is rolled back.
    :return: the result of *work*.
    :raise ChatfilesError: see `constraint_error`, for a row that violates a constraint.
    :raise PostgresError: no client waits any more.
    """
    transaction = PostgresTransaction(connection)
    try:
        done = await work(transaction)
        if not is_wanted():
            raise PostgresError("cancelled by its client")
        await transaction.commit()
    except BaseException as error:
        if not connection.is_closed:
            await transaction.roll_back()
        if isinstance(error, psycopg2.IntegrityError):
            raise constraint_error_of(error) from error
        raise
    return done


def constraint_error_of(error: psycopg2.IntegrityError) -> ChatfilesError:
    """:return: the error for a row that PostgreSQL rejected (SQLSTATE class 23)."""
    missing = error.diag.column_name if error.pgcode == NOT_NULL_VIOLATION else None
    return constraint_error(str(sanitized_error(error)), missing)
