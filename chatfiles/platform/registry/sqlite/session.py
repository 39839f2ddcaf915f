"""
What a call does with a connection to SQLite, in the thread that the connection lives in.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Mapping
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from chatfiles.errors import ChatfilesError
from chatfiles.platform.registry.constraint_errors import violation
from chatfiles.platform.registry.queries import Rows, Values
from chatfiles.platform.registry.rows import text_of_moment
from chatfiles.platform.registry.statements import SQLITE

__all__ = ["Session", "at_once", "violated"]

T = TypeVar("T")


class Session:
    """
    See `chatfiles.platform.registry.queries.Session`; nothing here waits for anything.

    :param connection: used by nobody else meanwhile.
    """

    sql = SQLITE

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def rows(self, sql: str, values: Values | None = None) -> Rows:
        """:return: the rows that *sql* gives."""
        return self._connection.execute(sql, _stored(values or {})).fetchall()

    async def count(self, sql: str, values: Values) -> int:
        """:return: how many rows *sql* has changed."""
        return self._connection.execute(sql, _stored(values)).rowcount

    async def touch(self, sql: str, moments: Mapping[UUID, datetime]) -> None:
        """Row by row."""
        rows = [{"id": str(each), "moment": moments[each]} for each in moments]
        self._connection.executemany(sql, map(_stored, rows))


def at_once(work: Awaitable[T]) -> T:
    """:return: the result of a coroutine that waits for nothing."""
    try:
        next(work.__await__())
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("what is done with a connection to SQLite must not wait")


def violated(error: sqlite3.IntegrityError) -> ChatfilesError:
    """:return: what is told of a row that SQLite does not take; its words name no value."""
    rule = str(error)
    is_missing = error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_NOTNULL
    return violation(rule, rule.rpartition(".")[2] if is_missing else None)


def _stored(values: Values) -> dict[str, object]:
    """:return: *values* as SQLite keeps them: it has no type for moments."""
    return {
        name: text_of_moment(value) if isinstance(value, datetime) else value
        for name, value in values.items()
    }
