"""
Runs the registry's queries on a SQLite connection, in the thread of that connection.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Mapping
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from chatfiles.errors import ChatfilesError
from chatfiles.platform.registry.constraint_errors import constraint_error
from chatfiles.platform.registry.queries import Rows, Values
from chatfiles.platform.registry.rows import format_time
from chatfiles.platform.registry.statements import SQLITE

__all__ = ["SQLiteSession", "constraint_error_of", "run_synchronously"]

T = TypeVar("T")


class SQLiteSession:
    """
    A `chatfiles.platform.registry.queries.Session` whose methods never wait.

    :param connection: used by this session only, until it ends.
    """

    sql = SQLITE

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def rows(self, sql: str, values: Values | None = None) -> Rows:
        """:return: the result rows of *sql*."""
        return self._connection.execute(sql, _stored(values or {})).fetchall()

    async def count(self, sql: str, values: Values) -> int:
        """:return: how many rows *sql* has changed."""
        return self._connection.execute(sql, _stored(values)).rowcount

    async def touch(self, sql: str, moments: Mapping[UUID, datetime]) -> None:
        """Execute *sql* once for each row."""
        rows = [{"id": str(each), "moment": moments[each]} for each in moments]
        self._connection.executemany(sql, map(_stored, rows))


def run_synchronously(work: Awaitable[T]) -> T:
    """
    :param work: a coroutine that never waits.
    :return: its result.
    """
    try:
        next(work.__await__())
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("a query on a SQLite connection must not wait")


def constraint_error_of(error: sqlite3.IntegrityError) -> ChatfilesError:
    """:return: the error for a row that SQLite rejected.  SQLite's text names no value."""
    rule = str(error)
    is_missing = error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_NOTNULL
    return constraint_error(rule, rule.rpartition(".")[2] if is_missing else None)


def _stored(values: Values) -> dict[str, object]:
    """:return: *values* as SQLite stores them: it has no type for timestamps."""
    return {
        name: format_time(value) if isinstance(value, datetime) else value
        for name, value in values.items()
    }
