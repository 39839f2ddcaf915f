"""
Bringing a PostgreSQL database up to date.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime

from chatfiles.platform.registry.migrations import Migration, pending
from chatfiles.platform.registry.postgres.connection import (
    LINK_ERRORS,
    PostgresConnection,
    PostgresError,
    described,
)
from chatfiles.platform.registry.rows import utc
from chatfiles.platform.registry.statements import POSTGRES

__all__ = ["applied_version", "migrate"]

#: Whoever holds this advisory lock migrates ("chatfile" in ASCII).
LOCK = 0x6368617466696C65

#: A table that somebody else uses is not waited for so long that everybody waits behind us.
_PATIENCE = "SET LOCAL lock_timeout = '3s'"


async def applied_version(link: PostgresConnection) -> int:
    """:return: the newest version of the schema that the database has; 0 for none."""
    ((there,),) = await link.rows("SELECT to_regclass('chatfiles_schema') IS NOT NULL")
    if not there:
        return 0
    ((version,),) = await link.rows(POSTGRES.schema_version)
    return version if isinstance(version, int) else 0


async def migrate(
    link: PostgresConnection, migrations: Sequence[Migration], now: datetime, *, patience: float
) -> None:
    """
    Apply what is pending, in one transaction.  Of several nodes that try at once, one does it and
    the others wait.

    :param now: aware.
    :param patience: seconds for each statement, and for waiting for another node.
    :raise SchemaTooNew: see `pending`.
    :raise PostgresError: nothing has been changed.
    """
    try:
        if pending(migrations, await applied_version(link)):
            await _migrate(link, migrations, now, patience)
    except LINK_ERRORS as error:
        raise described(error) from None


async def _migrate(
    link: PostgresConnection, migrations: Sequence[Migration], now: datetime, patience: float
) -> None:
    await link.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
    try:
        milliseconds = round(patience * 1000)
        await link.execute(f"SET LOCAL statement_timeout = {milliseconds}")
        await link.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        await link.execute(_PATIENCE)
        await link.execute(POSTGRES.schema_create)
        for migration in pending(migrations, await applied_version(link)):
            await _apply(link, migration, now)
        await link.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(*LINK_ERRORS):
            await link.execute("ROLLBACK")
        raise


async def _apply(link: PostgresConnection, migration: Migration, now: datetime) -> None:
    try:
        await link.execute(migration.sql)
        values = {"version": migration.version, "applied_at": utc(now)}
        await link.execute(POSTGRES.schema_applied, values)
    except LINK_ERRORS as error:
        step = f"migration {migration.version:04d}_{migration.name}"
        raise PostgresError(f"{step}: {described(error)}") from None
