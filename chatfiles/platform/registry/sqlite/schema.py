"""
Migrates a SQLite database.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime

from chatfiles.platform.registry.migrations import Migration, pending
from chatfiles.platform.registry.rows import format_time
from chatfiles.platform.registry.sqlite.file import transaction
from chatfiles.platform.registry.statements import SQLITE

__all__ = ["migrate"]

_ADD_COLUMN = re.compile(r"ALTER\s+TABLE\s+(\w+)\s+ADD\s+COLUMN\s+(\w+)", re.IGNORECASE)
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration], now: datetime) -> None:
    """
    Apply the pending migrations in one transaction.  Several processes may do this at once.

    A column that exists already is not changed.

    :param connection: in autocommit mode, with no transaction open.
    :param migrations: all migrations, in order.
    :param now: the current time, with its time zone.
    :raise chatfiles.platform.registry.migrations.SchemaTooNew: see `pending`.
    :raise sqlite3.Error: nothing has been changed.
    """
    if not pending(migrations, _version(connection)):
        return
    with transaction(connection):
        connection.execute(SQLITE.schema_create)
        for migration in pending(migrations, _version(connection)):
            for statement in _statements(migration.sql):
                if not _is_done(connection, statement):
                    connection.execute(statement)
            values = {"version": migration.version, "applied_at": format_time(now)}
            connection.execute(SQLITE.schema_applied, values)


def _version(connection: sqlite3.Connection) -> int:
    if not _columns(connection, "chatfiles_schema"):
        return 0
    (version,) = connection.execute(SQLITE.schema_version).fetchone()
    return version or 0


def _statements(sql: str) -> Iterator[str]:
    # Connection.executescript would commit the open transaction.
    statement = ""
    for line in _COMMENT.sub("", sql).splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement


def _is_done(connection: sqlite3.Connection, statement: str) -> bool:
    match = _ADD_COLUMN.match(statement.strip())
    return match is not None and match[2].lower() in _columns(connection, match[1])


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    rows = connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
    return {name.lower() for (name,) in rows}
