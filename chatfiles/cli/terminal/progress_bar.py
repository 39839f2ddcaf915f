"""
Shows the progress of a transfer on standard error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

import click

from chatfiles.cli.errors import CliError, printable

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["ProgressBar", "format_size", "is_ascii_locale"]

#: Characters of a name that fit beside a progress bar.
LABEL_LENGTH = 30


def format_size(count: int) -> str:
    """:return: a number of bytes for people, like ``2.05kB``."""
    from tqdm import tqdm  # noqa: PLC0415 - slow to import, and only terminals need it

    return tqdm.format_sizeof(count, "B")


class ProgressBar:
    """
    A bar for one transfer and its retries.  As a context manager, it removes the bar at the end.

    :param label: what is transferred.
    :param shown: whether there is a terminal to show it on.
    :param quiet: whether retries are not reported either.
    """

    def __init__(self, label: str, *, shown: bool, quiet: bool = False) -> None:
        self._label = printable(label, LABEL_LENGTH)
        self._shown = shown and os.environ.get("TERM") != "dumb"  # it cannot redraw a line
        self._quiet = quiet
        self._bar: tqdm[None] | None = None
        self._remark = ""

    def begin(self, done: int, total: int | None) -> None:
        """
        Show a new bar.

        :param done: bytes that have been transferred already.
        :param total: bytes of the whole transfer; ``None`` if not known.
        """
        self.close()
        if self._shown:
            self._bar = _make_bar(self._label, done, total, self._remark)

    def remark(self, text: str) -> None:
        """Show *text* at the end of the bar, and of those that follow it."""
        self._remark = text
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def advance(self, count: int) -> None:
        """Show that *count* more bytes have been transferred."""
        if self._bar is not None:
            self._bar.update(count)

    def say(self, text: str) -> None:
        """Remove the bar, and print *text* unless the user wants errors only."""
        self.close()
        if not self._quiet:
            click.echo(printable(text, None), err=True)

    def retrying(self, error: CliError, pause: int) -> None:
        """Remove the bar, and print what failed and that a retry follows in *pause* seconds."""
        self.say(f"{error.message}; trying again in {pause} s")

    def starting_over(self) -> None:
        """Remove the bar, and print that the whole file is sent again."""
        self.say("the file has changed or cannot be resumed; starting over")

    def close(self) -> None:
        """Remove the bar.  Idempotent."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def is_ascii_locale(environ: Mapping[str, str]) -> bool:
    """
    :param environ: the environment variables.
    :return: whether the characters of the terminal are those of the locale C.  Python does not say
        so: it writes UTF-8 there.
    """
    names = ("LC_ALL", "LC_CTYPE", "LANG")
    locale = next((value for name in names if (value := environ.get(name))), "C")
    return locale in ("C", "POSIX")


def _shape(_: object = None) -> tuple[int, int]:
    """:return: columns and lines of the terminal; serial lines, for example, say 0."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        return 80, 24
    return size.columns or 80, size.lines or 24


def _make_bar(label: str, done: int, total: int | None, remark: str) -> tqdm[None]:
    from tqdm import tqdm  # noqa: PLC0415 - slow to import, and only terminals need it

    class Bar(tqdm):  # type: ignore[type-arg]  # not subscriptable at run time
        """Its ``__del__`` reads `disable`, even if Ctrl-C arrives before ``__init__`` sets it."""

        disable = True

    columns, lines = _shape()
    bar = Bar(
        desc=label,
        total=total,
        initial=done,
        unit="B",
        unit_scale=True,
        leave=False,
        file=sys.stderr,
        ncols=columns,
        nrows=lines,
        postfix=remark,
        ascii=True if is_ascii_locale(os.environ) else None,
    )
    bar.dynamic_ncols = _shape  # type: ignore[assignment]  # a function, if it is true
    return bar
