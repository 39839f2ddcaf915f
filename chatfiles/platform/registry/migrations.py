"""
The schema's versions: SQL files of this package, one directory per dialect.

A migration only adds, so that a program that shares the database keeps working (CONTRACT 3).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

__all__ = ["Migration", "SchemaTooNew", "load", "pending"]

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


class SchemaTooNew(Exception):
    """A newer chatfiles has migrated the database; this one would not know what it does to it."""


@dataclass(frozen=True, slots=True)
class Migration:
    """
    One step of the schema.

    :param version: 1 for the first, and so on without a gap.
    :param name: what it is about, from the name of its file.
    :param sql: its statements.
    """

    version: int
    name: str
    sql: str


def load(dialect: str) -> tuple[Migration, ...]:
    """
    :param dialect: a directory of ``schema/``.
    :return: its migrations in order.
    :raise ValueError: a file's name is not ``NNNN_words.sql``, or a version is missing or double.
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
    :param applied: the version that the database has; 0 for none.
    :return: the migrations that it still needs.
    :raise SchemaTooNew: it has a version that is not among these.
    """
    if applied > len(migrations):
        raise SchemaTooNew(
            f"the database has schema version {applied}, but this version of chatfiles knows only"
            f" {len(migrations)}: upgrade chatfiles, or give it another database"
        )
    return migrations[applied:]
