"""
Migrates a PostgreSQL database.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime

from chatfiles.platform.registry.migrations import Migration, pending
from chatfiles.platform.registry.postgres.connection import (
    CONNECTION_ERRORS,
    PostgresConnection,
    PostgresError,
    sanitized_error,
)
from chatfiles.platform.registry.rows import utc
from chatfiles.platform.registry.statements import POSTGRES

__all__ = ["applied_version", "migrate"]

#: The holder of this advisory lock migrates ("chatfile" in ASCII).
LOCK = 0x6368617466696C65

#: A migration that waits for a lock on a table delays all later statements on this table.
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '3s'"


async def applied_version(connection: PostgresConnection) -> int:
    """:return: the version of the schema of the database; 0 for none."""
    ((exists,),) = await connection.rows("SELECT to_regclass('chatfiles_schema') IS NOT NULL")
    if not exists:
        return 0
    ((version,),) = await connection.rows(POSTGRES.schema_version)
    return version if isinstance(version, int) else 0


async def migrate(
    connection: PostgresConnection,
    migrations: Sequence[Migration],
    now: datetime,
    *,
    statement_timeout: float,
) -> None:
    """
    Apply the pending migrations in one transaction.  If several nodes do this at once, one applies
    them and the others wait.

    :param migrations: all migrations, in order.
    :param now: the current time, with its time zone.
    :param statement_timeout: seconds for each statement, and for waiting for another node.
    :raise SchemaTooNew: see `pending`.
    :raise PostgresError: nothing has been changed.
    """
    try:
        if pending(migrations, await applied_version(connection)):
            await _migrate(connection, migrations, now, statement_timeout)
    except CONNECTION_ERRORS as error:
        raise sanitized_error(error) from None


async def _migrate(
    connection: PostgresConnection,
    migrations: Sequence[Migration],
    now: datetime,
    statement_timeout: float,
) -> None:
    await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
    try:
        milliseconds = round(statement_timeout * 1000)
        await connection.execute(f"SET LOCAL statement_timeout = {milliseconds}")
        await connection.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        await connection.execute(_LOCK_TIMEOUT)
        await connection.execute(POSTGRES.schema_create)
        for migration in pending(migrations, await applied_version(connection)):
            await _apply(connection, migration, now)
        await connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(*CONNECTION_ERRORS):
            await connection.execute("ROLLBACK")
        raise


async def _apply(connection: PostgresConnection, migration: Migration, now: datetime) -> None:
    try:
        await connection.execute(migration.sql)
        values = {"version": migration.version, "applied_at": utc(now)}
        await connection.execute(POSTGRES.schema_applied, values)
    except CONNECTION_ERRORS as error:
        step = f"migration {migration.version:04d}_{migration.name}"
        raise PostgresError(f"{step}: {sanitized_error(error)}") from None
