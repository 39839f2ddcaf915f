"""
``chatfiles keys``: lists, rotates and revokes the keys that sign links.

Like ``chatfiles registry``, these connect to the database, not to the platform.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chatfiles.cli.database import database_option, in_database
from chatfiles.cli.errors import CliError
from chatfiles.cli.exit_status import EXIT_TABLE, Exit
from chatfiles.cli.options import json_option
from chatfiles.cli.terminal.tables import show_rows

if TYPE_CHECKING:
    from chatfiles.platform.registry.key_maintenance import KeyWork
    from chatfiles.rules.link_keys import LinkKey

__all__ = ["keys"]

COLUMNS = ("id", "created_at", "signs_until", "verifies_until", "state")
T = TypeVar("T")


@click.group(epilog=EXIT_TABLE)
def keys() -> None:
    """
    List, rotate and revoke the keys that sign links.

    It uses the platform's database.  If that is a file, run it on the machine of the platform, as
    its user, and name the file in its state directory with --database.

    A platform makes its first key with the first link, and a new one every 30 days.  It signs for
    30 days, and verifies for 7 days more.  Platforms that run notice changes within a second.

    \b
    Examples:
      chatfiles keys list --database sqlite:/var/lib/chatfiles/registry.db
      CHATFILES_DATABASE=postgresql://chatfiles@db/chatfiles chatfiles keys rotate
    """


@keys.command("list", epilog=EXIT_TABLE)
@database_option
@json_option
def list_keys(database: str, as_json: bool) -> None:
    """
    List all keys, those that have ended included.

    A key that verifies signs no more, but the links that it has signed are valid until they expire.

    \b
    Example:
      chatfiles keys list --database sqlite:/var/lib/chatfiles/registry.db
    """
    from chatfiles.platform.registry import key_maintenance  # noqa: PLC0415 - loads Twisted

    found, now = _do(database, key_maintenance.list_keys), datetime.now(UTC)
    rows = [_row(key, now) for key in found]
    show_rows(COLUMNS, rows, as_json=as_json, empty="no keys; the first link makes one")


@keys.command("rotate", epilog=EXIT_TABLE)
@database_option
def rotate_keys(database: str) -> None:
    """
    Make a new key, which signs from now on.

    The links that the old ones have signed remain valid.

    \b
    Example:
      chatfiles keys rotate --database sqlite:/var/lib/chatfiles/registry.db
    """
    from chatfiles.platform.registry import key_maintenance  # noqa: PLC0415 - loads Twisted

    new = _do(database, key_maintenance.rotate_keys)
    click.echo(f"links are signed with {new.id} from now on", err=True)


@keys.command("revoke", epilog=EXIT_TABLE)
@click.argument("key_id", metavar="ID")
@database_option
def revoke_key(key_id: str, database: str) -> None:
    """
    End a key at once, and all links that it has signed.

    \b
    Example:
      chatfiles keys revoke 5eed0001 --database sqlite:/var/lib/chatfiles/registry.db
    """
    from chatfiles.platform.registry import key_maintenance  # noqa: PLC0415 - loads Twisted

    key_id = key_id.lower()
    if not _do(database, key_maintenance.revoke_key(key_id)):
        raise CliError(
            f"there is no key {key_id!r}",
            Exit.NOT_FOUND,
            hint="`chatfiles keys list` shows the ids of the keys",
        )
    click.echo(f"revoked {key_id}", err=True)


def _do(database: str, work: KeyWork[T]) -> T:
    from chatfiles.platform.registry import key_maintenance  # noqa: PLC0415 - loads Twisted

    return in_database(
        database,
        partial(key_maintenance.keys_in_sqlite, work=work),
        partial(key_maintenance.keys_in_postgres, work=work),
    )


def _row(key: LinkKey, now: datetime) -> dict[str, Any]:
    shown = {"id": key.id, "created_at": _time(key.created_at)}
    if key.is_revoked:
        return shown | {"signs_until": None, "verifies_until": None, "state": "revoked"}
    state = "signs" if key.signs(now) else "verifies" if key.verifies(now) else "ended"
    until = {"signs_until": _time(key.signs_until), "verifies_until": _time(key.verifies_until)}
    return shown | until | {"state": state}


def _time(time: datetime) -> str:
    return time.isoformat(timespec="seconds")
