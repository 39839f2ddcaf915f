"""
``chatfiles registry``: shows and migrates the schema of a platform's database.

Unlike the other commands, these connect to the database, not to the platform.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from chatfiles.cli.errors import CliError, Exit, Interrupted
from chatfiles.cli.terminal.tables import show_json, show_object
from chatfiles.errors import RegistryUnavailable
from chatfiles.rules.database_url import EXPOSED, POSTGRES_SCHEMES, has_password, without_password

if TYPE_CHECKING:
    from chatfiles.platform.registry.maintenance import SchemaState

__all__ = ["registry"]

DEFAULT_DATABASE = "sqlite:" + os.path.join("chatfiles-state", "registry.db")
T = TypeVar("T")


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
    help="sqlite:PATH or postgresql://…, the same as the platform's.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@click.group()
def registry() -> None:
    """
    Show or update the schema of a platform's database.

    A platform updates its database when it starts.  Use this command when the platform's database
    role may not change tables, or to index a large table beforehand.  Keep a password in
    CHATFILES_DATABASE, PGPASSWORD or ~/.pgpass rather than on the command line.

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
    Show the schema's version and pending migrations.

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
    Apply all missing migrations, or none if one fails.  Platforms may run meanwhile.

    \b
    Example:
      chatfiles registry migrate --database postgresql://owner@db.example.com/chatfiles
    """
    _show(_visit(database, change=True), as_json=as_json)


def _show(found: SchemaState, *, as_json: bool) -> None:
    shown = {
        "database": found.database,
        "version": found.version,
        "known": found.version + len(found.missing),
        "pending": [f"{each.version:04d}_{each.name}" for each in found.missing],
    }
    if as_json:
        show_json(shown)
    else:
        show_object(tuple(shown), shown)


def _visit(database: str, *, change: bool) -> SchemaState:
    from chatfiles.platform.registry import maintenance  # noqa: PLC0415 - loads Twisted

    try:
        if database.startswith(POSTGRES_SCHEMES):
            return _run(
                lambda reactor: maintenance.visit_postgres(database, reactor, change=change)
            )
        kind, _, path = database.partition(":")
        if kind != "sqlite" or not path:
            raise ValueError("--database takes sqlite:PATH or postgresql://…")
        return maintenance.visit_sqlite(path, change=change)
    except ValueError as error:
        raise CliError(str(error), Exit.USAGE) from None
    except maintenance.SchemaTooNew as error:
        raise CliError(str(error), Exit.REFUSED) from None
    except RegistryUnavailable as error:
        raise CliError(f"cannot use the database: {error.__cause__}", Exit.UNAVAILABLE) from None
    except (OSError, sqlite3.Error) as error:
        # PostgreSQL's libraries raise OSError when the process has no free descriptor.
        raise CliError(
            f"cannot use {without_password(database)}: {error}", Exit.UNAVAILABLE
        ) from None


def _run(work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
    """
    Run the reactor, and call *work* with it.

    :return: what *work* returns.
    :raise Interrupted: a signal stopped the reactor.
    """
    from twisted.internet import reactor  # noqa: PLC0415 - only PostgreSQL needs it
    from twisted.internet.defer import Deferred  # noqa: PLC0415

    running: Any = reactor
    results: list[T] = []
    errors: list[BaseException] = []
    received: list[int] = []

    def stop(signum: int, _frame: object) -> None:
        received.append(signum)
        if len(received) == 1:
            running.callFromThread(running.stop)

    def begin() -> None:
        done = Deferred.fromCoroutine(work(running))
        done.addCallbacks(results.append, lambda failure: errors.append(failure.value))
        done.addBoth(lambda _: None if received else running.stop())

    # Twisted's own handlers do not tell which signal it was, and that is the exit status.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, stop)
    running.callWhenRunning(begin)
    running.run(installSignalHandlers=False)
    for error in errors:
        raise error
    if not results:
        raise Interrupted(received[0])
    return results[0]
