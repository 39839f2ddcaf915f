"""
Maintenance of a registry's database for operators: read the version of its schema, and migrate it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, TypeVar

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry.migrations import Migration, SchemaTooNew, load, pending
from chatfiles.platform.registry.postgres import check_extra
from chatfiles.platform.registry.sqlite.file import DatabaseFile
from chatfiles.platform.registry.sqlite.schema import migrate
from chatfiles.platform.registry.statements import SQLITE

__all__ = [
    "SchemaState",
    "SchemaTooNew",
    "on_postgres",
    "sqlite_connection",
    "visit_postgres",
    "visit_sqlite",
]

T = TypeVar("T")
_POSTGRES = "chatfiles.platform.registry.postgres."

#: Seconds to wait for another process's lock, and for a connection.
LOCK_TIMEOUT = 10.0
#: Seconds for each statement of a migration, which may have to index a large table.
MIGRATION_TIMEOUT = 3600.0


@dataclass(frozen=True, slots=True)
class SchemaState:
    """
    The state of the schema of a database.

    :param database: its URL, without credentials.
    :param version: of the schema; 0 for an empty database.
    :param missing: the migrations that are not applied, in order.
    """

    database: str
    version: int
    missing: Sequence[Migration]


def visit_sqlite(path: str, *, change: bool) -> SchemaState:
    """
    Inspect or migrate a SQLite database.  Blocks.

    :param path: of the database file.
    :param change: whether to apply the missing migrations.
    :return: the state of the schema after that.
    :raise SchemaTooNew: a newer version of this program has changed the schema.
    :raise OSError: the file does not exist or cannot be used.
    :raise sqlite3.Error: the file cannot be used.
    """
    migrations = load("sqlite")
    with sqlite_connection(path, may_create=change) as connection:
        version = _sqlite_version(connection)
        missing = pending(migrations, version)
        if change:
            migrate(connection, migrations, datetime.now(UTC))
            version, missing = len(migrations), ()
    return SchemaState(f"sqlite:{path}", version, missing)


async def visit_postgres(url: str, reactor: Any, *, change: bool) -> SchemaState:
    """
    Inspect or migrate a PostgreSQL database.

    :param url: ``postgresql://…``.
    :param reactor: provides every reactor interface; it is running.
    :param change: whether to apply the missing migrations.
    :return: the state of the schema after that.
    :raise ValueError: the URL is not valid, or the extra is not installed.
    :raise SchemaTooNew: a newer version of this program has changed the schema.
    :raise RegistryUnavailable: the database cannot be used; its cause says why.
    """
    migrations = load("postgresql")

    async def work(connection: Any, display_url: str) -> SchemaState:
        schema = import_module(_POSTGRES + "schema")
        version = await schema.applied_version(connection)
        missing = pending(migrations, version)
        if change:
            now = datetime.now(UTC)
            await schema.migrate(connection, migrations, now, statement_timeout=MIGRATION_TIMEOUT)
            version, missing = len(migrations), ()
        return SchemaState(display_url, version, missing)

    return await on_postgres(url, reactor, work)


@contextlib.contextmanager
def sqlite_connection(path: str, *, may_create: bool = False) -> Iterator[sqlite3.Connection]:
    """
    Open a SQLite database.  Blocks.

    :param path: of the database file.
    :param may_create: whether the file may be missing.
    :raise OSError: the file does not exist or cannot be used.
    :raise sqlite3.Error: the file cannot be used.
    """
    if not may_create and not os.path.exists(path):
        raise FileNotFoundError("there is no such file; a platform creates it when it starts")
    file = DatabaseFile(path)
    file.verify()
    connection = file.connect(LOCK_TIMEOUT)
    try:
        yield connection
    finally:
        connection.close()


async def on_postgres(
    url: str, reactor: Any, work: Callable[[Any, str], Coroutine[Any, Any, T]]
) -> T:
    """
    Use a PostgreSQL database.

    :param url: ``postgresql://…``.
    :param reactor: provides every reactor interface; it is running.
    :param work: receives a `chatfiles.platform.registry.postgres.connection.PostgresConnection`,
        and the URL without credentials.
    :return: the result of *work*.
    :raise ValueError: the URL is not valid, or the extra is not installed.
    :raise RegistryUnavailable: the database cannot be used; its cause says why.
    """
    check_extra()
    # These modules need the extra.
    address = import_module(_POSTGRES + "address").PostgresAddress.parse(url)
    schema = import_module(_POSTGRES + "schema")
    connector = import_module(_POSTGRES + "connector").PostgresConnector(
        address, reactor=reactor, timeout=LOCK_TIMEOUT, statement_timeout=LOCK_TIMEOUT
    )
    connector.start()
    try:
        connection = await connector.connect()
    finally:
        connector.close()
    try:
        return await work(connection, address.display_url)
    except schema.PostgresError as error:
        raise RegistryUnavailable from error
    except schema.CONNECTION_ERRORS as error:
        raise RegistryUnavailable from schema.sanitized_error(error)
    finally:
        connection.discard()


def _sqlite_version(connection: sqlite3.Connection) -> int:
    try:
        (version,) = connection.execute(SQLITE.schema_version).fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return 0
    return version or 0
