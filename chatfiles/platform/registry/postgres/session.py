"""
What a call does with a connection to PostgreSQL: statement by statement, or in a transaction.
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
from chatfiles.platform.registry.constraint_errors import violation
from chatfiles.platform.registry.postgres.connection import (
    LINK_ERRORS,
    PostgresConnection,
    PostgresError,
    described,
)
from chatfiles.platform.registry.queries import Change, Rows, Values
from chatfiles.platform.registry.rows import utc
from chatfiles.platform.registry.statements import POSTGRES

__all__ = ["Session", "Transaction", "in_transaction"]

T = TypeVar("T")


class Session:
    """
    Statements that each count for themselves; see `chatfiles.platform.registry.queries.Session`.

    :param link: used by nobody else meanwhile.
    """

    sql = POSTGRES

    def __init__(self, link: PostgresConnection) -> None:
        self._link = link

    async def rows(self, sql: str, values: Values | None = None) -> Rows:
        """:return: the rows that *sql* gives."""
        rows: Rows = (await self._execute(sql, values)).fetchall()
        return rows

    async def count(self, sql: str, values: Values) -> int:
        """:return: how many rows *sql* has changed."""
        changed: int = (await self._execute(sql, values)).rowcount
        return changed

    async def touch(self, sql: str, moments: Mapping[UUID, datetime]) -> None:
        """All of them in one statement."""
        values = {
            "ids": [str(each) for each in moments],
            "moments": [utc(moment) for moment in moments.values()],
        }
        await self._execute(sql, values)

    async def _execute(self, sql: str, values: Values | None) -> Any:
        try:
            return await self._link.execute(sql, values)
        except (ValueError, UnicodeError):
            # psycopg2 refuses NUL, and what is no UTF-8, before it sends anything.
            raise BadRequest("text with characters that cannot be stored") from None


class Transaction(Session):
    """
    Statements that count together.  It begins with the first of them.

    A value that a column does not take (SQLSTATE class 22) is a `BadRequest`.

    It writes only where the server lets it: a server that is a standby, or that somebody has made
    read-only, says so.
    """

    _begin = "BEGIN ISOLATION LEVEL READ COMMITTED;"

    async def commit(self) -> None:
        await self._link.execute("COMMIT")

    async def undo(self) -> None:
        """Leave no trace.  If even this fails, the connection is not used again."""
        with contextlib.suppress(*LINK_ERRORS):
            await self._link.execute("ROLLBACK")

    async def _execute(self, sql: str, values: Values | None) -> Any:
        begin, self._begin = self._begin, ""
        try:
            return await super()._execute(begin + sql, values)
        except psycopg2.DataError as error:
            # What is written comes from callers.  Tables of others may have enums and varchars.
            raise BadRequest(
                "the registry does not take one of these values", code="invalid_field"
            ) from error


async def in_transaction(
    link: PostgresConnection,
    work: Callable[[Session], Awaitable[Change[T]]],
    *,
    wanted: Callable[[], bool],
) -> Change[T]:
    """
    Do *work* in a transaction.  A row that breaks a rule of its table is told as `violation` says.

    :param wanted: whether anybody still waits for it; asked before it counts.
    """
    transaction = Transaction(link)
    try:
        done = await work(transaction)
        if not wanted():
            raise PostgresError("given up by its caller")
        await transaction.commit()
    except BaseException as error:
        if not link.over:
            await transaction.undo()
        if isinstance(error, psycopg2.IntegrityError):
            raise violated(error) from error
        raise
    return done


def violated(error: psycopg2.IntegrityError) -> ChatfilesError:
    """:return: what is told of a row that PostgreSQL does not take (SQLSTATE class 23)."""
    missing = error.diag.column_name if error.pgcode == NOT_NULL_VIOLATION else None
    return violation(str(described(error)), missing)
