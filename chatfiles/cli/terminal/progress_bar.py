"""
Shows the progress of a transfer on standard error.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

import click

from chatfiles.cli.errors import CliError, printable

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["ProgressBar", "format_size"]

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
        self._shown = shown
        self._quiet = quiet
        self._bar: tqdm[None] | None = None

    def begin(self, done: int, total: int | None) -> None:
        """
        Show a new bar.

        :param done: bytes that have been transferred already.
        :param total: bytes of the whole transfer; ``None`` if not known.
        """
        self.close()
        if self._shown:
            self._bar = _make_bar(self._label, done, total)

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


def _make_bar(label: str, done: int, total: int | None) -> tqdm[None]:
    from tqdm import tqdm  # noqa: PLC0415 - slow to import, and only terminals need it

    class Bar(tqdm):  # type: ignore[type-arg]  # not subscriptable at run time
        """Its ``__del__`` reads `disable`, even if Ctrl-C arrives before ``__init__`` sets it."""

        disable = True

    return Bar(
        desc=label,
        total=total,
        initial=done,
        unit="B",
        unit_scale=True,
        leave=False,
        file=sys.stderr,
        dynamic_ncols=True,
    )
