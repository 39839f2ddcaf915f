"""
Maintenance of the keys of signed links for operators: list, rotate and revoke them.

Platforms that run receive the changes as they do those of other platforms.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, TypeVar

from chatfiles.platform.registry import queries
from chatfiles.platform.registry.maintenance import on_postgres, sqlite_connection
from chatfiles.platform.registry.queries import Change, Session
from chatfiles.platform.registry.sqlite.file import transaction
from chatfiles.platform.registry.sqlite.session import SQLiteSession, run_synchronously
from chatfiles.rules.link_keys import LinkKey, new_link_key

__all__ = [
    "KeyWork",
    "keys_in_postgres",
    "keys_in_sqlite",
    "list_keys",
    "revoke_key",
    "rotate_keys",
]

T = TypeVar("T")
#: Reads or changes the keys.
KeyWork = Callable[[Session, datetime], Awaitable[Change[T]]]


async def list_keys(db: Session, _: datetime) -> Change[Sequence[LinkKey]]:
    """:return: all keys, oldest first."""
    return await queries.link_keys(db), []


async def rotate_keys(db: Session, now: datetime) -> Change[LinkKey]:
    """:return: a new key; all others have ended to sign."""
    successor = new_link_key(now)
    _, changed = await queries.rotate_link_keys(db, now, successor)
    return successor, changed


def revoke_key(key_id: str) -> KeyWork[bool]:
    """:return: revokes a key, and returns whether it exists."""
    return lambda db, _: queries.revoke_link_key(db, key_id)


def keys_in_sqlite(path: str, work: KeyWork[T]) -> T:
    """
    Do *work* in a SQLite database.  Blocks.

    :param path: of the database file.
    :raise OSError: the file does not exist or cannot be used.
    :raise sqlite3.Error: the file cannot be used.
    """
    with sqlite_connection(path) as connection, transaction(connection):
        result, _ = run_synchronously(work(SQLiteSession(connection), datetime.now(UTC)))
    return result


async def keys_in_postgres(url: str, reactor: Any, work: KeyWork[T]) -> T:
    """
    Do *work* in a PostgreSQL database.

    :param url: ``postgresql://…``.
    :param reactor: provides every reactor interface; it is running.
    :raise ValueError: the URL is not valid, or the extra is not installed.
    :raise RegistryUnavailable: the database cannot be used; its cause says why.
    """

    async def run(connection: Any, _: str) -> T:
        in_transaction = import_module(
            "chatfiles.platform.registry.postgres.session"
        ).in_transaction
        now = datetime.now(UTC)
        done: Change[T] = await in_transaction(
            connection, lambda db: work(db, now), is_wanted=lambda: True
        )
        return done[0]

    return await on_postgres(url, reactor, run)
