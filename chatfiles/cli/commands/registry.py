"""
``chatfiles registry``: shows and migrates the schema of a platform's database.

Unlike most other commands, these connect to the database, not to the platform.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from chatfiles.cli.database import database_option, in_database
from chatfiles.cli.errors import CliError
from chatfiles.cli.exit_status import EXIT_TABLE, Exit
from chatfiles.cli.options import json_option
from chatfiles.cli.terminal.tables import show_json, show_object

if TYPE_CHECKING:
    from chatfiles.platform.registry.maintenance import SchemaState

__all__ = ["registry"]


@click.group(epilog=EXIT_TABLE)
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


@registry.command(epilog=EXIT_TABLE)
@database_option
@json_option
def status(database: str, as_json: bool) -> None:
    """
    Show the schema's version and pending migrations.

    \b
    Example:
      chatfiles registry status --json | jq .pending
    """
    _show(_visit(database, change=False), as_json=as_json)


@registry.command(name="migrate", epilog=EXIT_TABLE)
@database_option
@json_option
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
        return in_database(
            database,
            lambda path: maintenance.visit_sqlite(path, change=change),
            lambda url, reactor: maintenance.visit_postgres(url, reactor, change=change),
        )
    except maintenance.SchemaTooNew as error:
        raise CliError(str(error), Exit.REFUSED) from None
