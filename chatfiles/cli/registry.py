"""
``chatfiles registry``: the schema of a platform's database.

Unlike the other commands, these ask the database, not the platform.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from chatfiles.cli.errors import CliError, Exit
from chatfiles.cli.tables import show_json, show_object
from chatfiles.databases import EXPOSED, POSTGRES_SCHEMES, has_password, without_password
from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry.migrations import Migration, SchemaTooNew, load, pending
from chatfiles.platform.registry.postgres import check_extra
from chatfiles.platform.registry.sqlite.file import DatabaseFile
from chatfiles.platform.registry.sqlite.schema import migrate
from chatfiles.platform.registry.statements import SQLITE

__all__ = ["registry"]

DEFAULT_DATABASE = "sqlite:" + os.path.join("chatfiles-state", "registry.db")
#: Seconds to wait for another process's lock, and for a connection.
PATIENCE = 10.0
#: Seconds for each statement of a migration, which may have a large table to index.
MIGRATION_PATIENCE = 3600.0

T = TypeVar("T")
#: Where a database is, without credentials; its version; the migrations that it lacks.
Found = tuple[str, int, Sequence[Migration]]


def _warn_of_password(ctx: click.Context, _: click.Parameter, value: str) -> str:
    source = ctx.get_parameter_source("database")
    if source is ParameterSource.COMMANDLINE and has_password(value):
        click.echo(f"chatfiles: {EXPOSED}", err=True)
    return value


_database = click.option(
    "--database",
    callback=_warn_of_password,
    envvar="CHATFILES_DATABASE",
    show_envvar=True,
    default=DEFAULT_DATABASE,
    show_default=True,
    metavar="URL",
    help="sqlite:PATH or postgresql://…, as of the platform.",
)
_json = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.group()
def registry() -> None:
    """
    Look at the schema of a platform's database, or bring it up to date.

    A platform does it by itself at its start.  Do it here when the platform's role may not change
    tables, or when a large table is to be indexed beforehand.  A password is better kept in
    CHATFILES_DATABASE, PGPASSWORD or ~/.pgpass than on the command line.

    \b
    Examples:
      CHATFILES_DATABASE=postgresql://owner@db/chatfiles chatfiles registry status
      chatfiles registry migrate --database sqlite:/var/lib/chatfiles/registry.db
    """


@registry.command()
@_database
@_json
def status(database: str, as_json: bool) -> None:
    """
    Say which version of the schema the database has, and what it lacks.

    \b
    Example:
      chatfiles registry status --json | jq .pending
    """
    _show(_visit(database, change=False), as_json=as_json)


@registry.command(name="migrate")
@_database
@_json
def migrate_command(database: str, as_json: bool) -> None:
    """
    Apply what is missing, all of it or nothing.  Platforms may run meanwhile.

    \b
    Example:
      chatfiles registry migrate --database postgresql://owner@db.example.com/chatfiles
    """
    _show(_visit(database, change=True), as_json=as_json)


def _show(found: Found, *, as_json: bool) -> None:
    where, version, missing = found
    names = [f"{each.version:04d}_{each.name}" for each in missing]
    shown = {
        "database": where,
        "version": version,
        "known": version + len(missing),
        "pending": names,
    }
    if as_json:
        show_json(shown)
    else:
        show_object(tuple(shown), shown)


def _visit(database: str, *, change: bool) -> Found:
    try:
        if database.startswith(POSTGRES_SCHEMES):
            check_extra()
            return _visit_postgres(database, change=change)
        kind, _, path = database.partition(":")
        if kind != "sqlite" or not path:
            raise ValueError("--database takes sqlite:PATH or postgresql://…")
        return _visit_sqlite(path, change=change)
    except ValueError as error:
        raise CliError(str(error), Exit.USAGE) from None
    except SchemaTooNew as error:
        raise CliError(str(error), Exit.REFUSED) from None
    except RegistryUnavailable as error:
        raise CliError(f"cannot use the database: {error.__cause__}", Exit.UNAVAILABLE) from None
    except (OSError, sqlite3.Error) as error:
        # Libraries of PostgreSQL fail so too, for want of descriptors.
        raise CliError(
            f"cannot use {without_password(database)}: {error}", Exit.UNAVAILABLE
        ) from None


def _visit_sqlite(path: str, *, change: bool) -> Found:
    if not change and not os.path.exists(path):
        raise FileNotFoundError("there is no such file; a platform makes it at its start")
    file, migrations = DatabaseFile(path), load("sqlite")
    file.verify()
    with _closing(file.connect(PATIENCE)) as connection:
        version = _sqlite_version(connection)
        missing = pending(migrations, version)
        if change:
            migrate(connection, migrations, datetime.now(UTC))
            version, missing = len(migrations), ()
    return f"sqlite:{path}", version, missing


def _visit_postgres(url: str, *, change: bool) -> Found:
    prefix = "chatfiles.platform.registry.postgres."
    address = import_module(prefix + "address").PostgresAddress.parse(url)
    schema, migrations = import_module(prefix + "schema"), load("postgresql")

    async def visit(reactor: Any) -> Found:
        dialer = import_module(prefix + "dial").PostgresDialer(
            address, reactor=reactor, timeout=PATIENCE, statement_timeout=PATIENCE
        )
        dialer.start()
        link = await dialer.dial()
        try:
            version = await schema.applied_version(link)
            missing = pending(migrations, version)
            if change:
                now = datetime.now(UTC)
                await schema.migrate(link, migrations, now, patience=MIGRATION_PATIENCE)
                version, missing = len(migrations), ()
        except schema.PostgresError as error:
            raise RegistryUnavailable from error
        except schema.LINK_ERRORS as error:
            raise RegistryUnavailable from schema.described(error)
        finally:
            link.discard()
        return address.shown, version, missing

    return _run(visit)


def _run(work: Callable[[Any], Awaitable[T]]) -> T:
    from twisted.internet import reactor  # noqa: PLC0415 - most commands need none

    running: Any = reactor
    outcome: list[T | Failure] = []

    async def do() -> T:
        return await work(running)

    def begin() -> None:
        done = Deferred.fromCoroutine(do()).addBoth(outcome.append)
        done.addBoth(lambda _: running.stop())

    running.callWhenRunning(begin)
    running.run()
    if not outcome:  # stopped by a signal, which Twisted takes for itself
        raise KeyboardInterrupt
    (result,) = outcome
    if isinstance(result, Failure):
        result.raiseException()
    return result


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
