"""
Prints the platform's responses, as tables for people or as JSON for programs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import click

from chatfiles.cli.errors import printable, untrusted

__all__ = ["as_object", "as_rows", "cell", "show_json", "show_object", "show_rows", "table"]

_FRACTION = re.compile(r"(?<=:[0-9]{2})\.[0-9]+")


def as_object(answer: object) -> dict[str, Any]:
    """
    Check that a JSON value is an object.

    :return: the value.
    :raise CliError: it is not an object.
    """
    if not isinstance(answer, dict):
        raise untrusted("it is not a JSON object")
    return answer


def as_rows(answer: object, key: str) -> list[dict[str, Any]]:
    """
    Check that a JSON value is a list of objects, or an object with such a list.

    :param key: the member of the object that holds the list.
    :return: the list.
    :raise CliError: there is no list of objects.
    """
    rows = answer.get(key) if isinstance(answer, dict) else answer
    if not isinstance(rows, list):
        raise untrusted("it is not a list")
    return [as_object(row) for row in rows]


def cell(value: object) -> str:
    """:return: a JSON value as one printable line; ``-`` if it is empty."""
    if value is None or value in ("", []):
        return "-"
    if isinstance(value, list):
        return ",".join(cell(item) for item in value)
    return printable(value if isinstance(value, str) else json.dumps(value))


def _member(row: Mapping[str, Any], name: str) -> str:
    """:return: the cell of a member; times have no fractions of a second."""
    text = cell(row.get(name))
    return _FRACTION.sub("", text) if name.endswith("_at") else text


def table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """
    :param columns: the members to show, in order; the header has their names in capitals.
    :param rows: objects that may lack some of them.
    :return: an aligned table, one row per line, without spaces at the ends of lines.
    """
    header = [column.replace("_", " ").upper() for column in columns]
    lines = [header, *([_member(row, column) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def show_json(value: object) -> None:
    """Print *value* as JSON in ASCII, which cannot control a terminal."""
    click.echo(json.dumps(value, indent=2))


def show_object(names: Sequence[str], value: Mapping[str, Any]) -> None:
    """Print the members *names* of *value*, one aligned line each."""
    width = max(len(name) for name in names)
    for name in names:
        click.echo(f"{name.ljust(width)}  {_member(value, name)}")


def show_rows(
    columns: Sequence[str], rows: list[dict[str, Any]], *, as_json: bool, empty: str
) -> None:
    """
    Print *rows* as a table or as JSON.

    :param columns: see `table`.
    :param empty: the text for standard error if a table has no rows.
    """
    if as_json:
        show_json(rows)
    elif rows:
        click.echo(table(columns, rows))
    else:
        click.echo(empty, err=True)
