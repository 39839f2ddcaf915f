"""
Writes a listing to standard output, in one of the forms that ``chatfiles ls`` offers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

from chatfiles.cli.listing.entry import Entry, visible

__all__ = ["Form", "choose_form", "json_line", "nul", "plain", "table_line", "write"]

#: Returns the bytes to write for an entry and the name to show.
Form = Callable[[Entry, bytes], bytes]


def choose_form(*, long: bool, as_json: bool, nul_separated: bool) -> Form:
    """
    :param long: whether a table also has modes and types.
    :param as_json: whether to write one JSON object on a line.
    :param nul_separated: whether to write names in bytes, each followed by a NUL.
    :return: the form; without an option a table on a terminal, else one name on a line.
    """
    terminal = sys.stdout.isatty()
    if as_json:
        return lambda entry, _: json_line(entry.received)
    if nul_separated:
        return lambda _, name: nul(name)
    if long or terminal:
        return lambda entry, name: table_line(entry, name, long=long)
    return lambda _, name: plain(name, terminal=False)


def json_line(value: dict[str, Any]) -> bytes:
    """:return: *value* as one line of JSON in ASCII, which cannot control a terminal."""
    return json.dumps(value).encode("ascii") + b"\n"


def nul(name: bytes) -> bytes:
    """:return: *name* and a NUL."""
    return name + b"\0"


def plain(name: bytes, *, terminal: bool) -> bytes:
    """:return: *name* on one line; on a terminal, what could control it is escaped."""
    return (_for_terminal(name) if terminal else name) + b"\n"


def table_line(entry: Entry, name: bytes, *, long: bool) -> bytes:
    """
    :param name: the name to show.
    :param long: whether to show mode and type.
    :return: the line of a table whose columns have fixed widths, so that it needs no memory.
        Control characters in the name are escaped, also in a pipe: a line is always one entry.
    """
    size = "-" if entry.size is None else str(entry.size)
    cells = f"{size:>12}  {_local_time(entry.mtime_ns):19}  "
    if long:
        mode = "-" if entry.mode is None else f"{entry.mode:04o}"
        cells = f"{mode:>4}  {entry.kind:9}  {cells}"
    return cells.encode("ascii") + plain(name, terminal=True)


def write(data: bytes) -> None:
    """
    Write to standard output.

    :raise OSError: it cannot be written, or the reader has closed the pipe.
    """
    sys.stdout.buffer.write(data)


def _for_terminal(name: bytes) -> bytes:
    return visible(name).encode(sys.stdout.encoding or "ascii", "backslashreplace")


def _local_time(nanoseconds: int | None) -> str:
    if nanoseconds is None:
        return "-"
    try:
        return datetime.fromtimestamp(nanoseconds // 10**9).isoformat(" ")  # noqa: DTZ006 - local
    except (OverflowError, OSError, ValueError):
        return "-"
