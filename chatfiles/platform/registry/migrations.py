"""
The versions of the schema: SQL files of this package, one directory for each dialect.

A migration only adds tables, columns, indexes and triggers, so that other programs that share the
database continue to work.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

__all__ = ["Migration", "SchemaTooNew", "load", "pending"]

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


class SchemaTooNew(Exception):
    """A newer chatfiles has migrated the database; this version does not know its schema."""


@dataclass(frozen=True, slots=True)
class Migration:
    """
    One step of the schema.

    :param version: 1 for the first migration, and so on without a gap.
    :param name: its subject, from the name of its file.
    :param sql: its statements.
    """

    version: int
    name: str
    sql: str


def load(dialect: str) -> tuple[Migration, ...]:
    """
    :param dialect: a directory of ``schema/``.
    :return: its migrations in order.
    :raise ValueError: the name of a file is not ``NNNN_words.sql``, or a version is missing or
        used twice.
    """
    folder = resources.files(__package__) / "schema" / dialect
    found = []
    for file in folder.iterdir():
        match = _FILE.fullmatch(file.name)
        if match is None:
            raise ValueError(f"not a migration: {dialect}/{file.name}")
        found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.version)
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"the migrations of {dialect} are not numbered 1, 2, …")
    return tuple(found)


def pending(migrations: Sequence[Migration], applied: int) -> Sequence[Migration]:
    """
    :param migrations: all migrations, in order.
    :param applied: the version of the database; 0 for none.
    :return: the migrations that are still to be applied.
    :raise SchemaTooNew: *applied* is newer than the last of *migrations*.
    """
    if applied > len(migrations):
        raise SchemaTooNew(
            f"the database has schema version {applied}, but this version of chatfiles knows only"
            f" {len(migrations)}: upgrade chatfiles, or give it another database"
        )
    return migrations[applied:]
