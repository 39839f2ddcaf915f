"""
The commands that connect to a platform's database: their option, and how they use the database.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from chatfiles.cli.errors import CliError, Interrupted
from chatfiles.cli.exit_status import Exit
from chatfiles.errors import RegistryUnavailable
from chatfiles.rules.database_url import EXPOSED, POSTGRES_SCHEMES, has_password, without_password

__all__ = ["database_option", "in_database"]

DEFAULT_DATABASE = "sqlite:" + os.path.join("chatfiles-state", "registry.db")
#: The hint for a file that does not exist or is another user's, who alone can enter its directory.
_WHERE = (
    "name the platform's database with --database URL or CHATFILES_DATABASE; by default it is "
    "registry.db in the platform's --state-dir.  Use a file on the platform's machine, as its user"
)
T = TypeVar("T")


def _warn_of_password(ctx: click.Context, _: click.Parameter, value: str) -> str:
    source = ctx.get_parameter_source("database")
    if source is ParameterSource.COMMANDLINE and has_password(value):
        click.echo(f"chatfiles: {EXPOSED}", err=True)
    return value


database_option = click.option(
    "--database",
    callback=_warn_of_password,
    envvar="CHATFILES_DATABASE",
    show_envvar=True,
    default=DEFAULT_DATABASE,
    show_default=True,
    metavar="URL",
    help="sqlite:PATH or postgresql://…, the same as the platform's.",
)


def in_database(
    database: str,
    sqlite: Callable[[str], T],
    postgres: Callable[[str, Any], Coroutine[Any, Any, T]],
) -> T:
    """
    Do something in a database.

    :param database: the value of the option.
    :param sqlite: does it in a SQLite file; takes its path.
    :param postgres: does it in PostgreSQL; takes the URL, and a reactor that runs.
    :return: the result.
    :raise CliError: the URL is wrong, or the database cannot be used.
    :raise Interrupted: a signal stopped the reactor.
    """
    try:
        if database.startswith(POSTGRES_SCHEMES):
            return _on_reactor(lambda reactor: postgres(database, reactor))
        kind, _, path = database.partition(":")
        if kind != "sqlite" or not path:
            raise ValueError("--database takes sqlite:PATH or postgresql://…")
        return sqlite(path)
    except ValueError as error:
        raise CliError(str(error), Exit.USAGE) from None
    except RegistryUnavailable as error:
        raise CliError(f"cannot use the database: {error.__cause__}", Exit.UNAVAILABLE) from None
    except (OSError, sqlite3.Error) as error:
        # PostgreSQL's libraries raise OSError when the process has no free descriptor.
        absent = isinstance(error, FileNotFoundError | PermissionError)
        raise CliError(
            f"cannot use {without_password(database)}: {error}",
            Exit.LOCAL if absent else Exit.UNAVAILABLE,
            hint=_WHERE if absent else None,
        ) from None


def _on_reactor(work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
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
