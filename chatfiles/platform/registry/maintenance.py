"""
The schema of a registry's database, for the operator: which version it has, and bringing it up to
date.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry.migrations import Migration, SchemaTooNew, load, pending
from chatfiles.platform.registry.postgres import check_extra
from chatfiles.platform.registry.sqlite.file import DatabaseFile
from chatfiles.platform.registry.sqlite.schema import migrate
from chatfiles.platform.registry.statements import SQLITE

__all__ = ["SchemaState", "SchemaTooNew", "visit_postgres", "visit_sqlite"]

#: Seconds to wait for another process's lock, and for a connection.
LOCK_TIMEOUT = 10.0
#: Seconds for each statement of a migration, which may have a large table to index.
MIGRATION_TIMEOUT = 3600.0


@dataclass(frozen=True, slots=True)
class SchemaState:
    """
    What a database has.

    :param database: where it is, without credentials.
    :param version: of its schema; 0 for an empty database.
    :param missing: the migrations that it lacks, in order.
    """

    database: str
    version: int
    missing: Sequence[Migration]


def visit_sqlite(path: str, *, change: bool) -> SchemaState:
    """
    Blocks.

    :param path: of the database file.
    :param change: apply what is missing.
    :raise SchemaTooNew: a newer version of this program has changed the schema.
    :raise OSError: there is no such file, or it cannot be used.
    :raise sqlite3.Error: as above.
    """
    if not change and not os.path.exists(path):
        raise FileNotFoundError("there is no such file; a platform makes it at its start")
    file, migrations = DatabaseFile(path), load("sqlite")
    file.verify()
    with _closing(file.connect(LOCK_TIMEOUT)) as connection:
        version = _sqlite_version(connection)
        missing = pending(migrations, version)
        if change:
            migrate(connection, migrations, datetime.now(UTC))
            version, missing = len(migrations), ()
    return SchemaState(f"sqlite:{path}", version, missing)


async def visit_postgres(url: str, reactor: Any, *, change: bool) -> SchemaState:
    """
    :param url: ``postgresql://…``.
    :param reactor: provides every reactor interface; it is running.
    :param change: apply what is missing.
    :raise ValueError: the URL is not valid, or the extra is not installed.
    :raise SchemaTooNew: a newer version of this program has changed the schema.
    :raise RegistryUnavailable: the database cannot be used; its cause says why.
    """
    check_extra()
    # Modules that need the extra.
    package = "chatfiles.platform.registry.postgres."
    address = import_module(package + "address").PostgresAddress.parse(url)
    schema, migrations = import_module(package + "schema"), load("postgresql")
    dialer = import_module(package + "connector").PostgresConnector(
        address, reactor=reactor, timeout=LOCK_TIMEOUT, statement_timeout=LOCK_TIMEOUT
    )
    dialer.start()
    link = await dialer.dial()
    try:
        version = await schema.applied_version(link)
        missing = pending(migrations, version)
        if change:
            await schema.migrate(link, migrations, datetime.now(UTC), patience=MIGRATION_TIMEOUT)
            version, missing = len(migrations), ()
    except schema.PostgresError as error:
        raise RegistryUnavailable from error
    except schema.LINK_ERRORS as error:
        raise RegistryUnavailable from schema.described(error)
    finally:
        link.discard()
    return SchemaState(address.shown, version, missing)


def _sqlite_version(connection: sqlite3.Connection) -> int:
    try:
        (version,) = connection.execute(SQLITE.schema_version).fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return 0
    return version or 0


@contextlib.contextmanager
def _closing(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.isolation_level = None
    try:
        yield connection
    finally:
        connection.close()
