"""
What has become of the files of a tree.
"""

from __future__ import annotations

import click

from chatfiles.cli.errors import CliError, printable
from chatfiles.cli.exit_status import Exit

__all__ = ["Report"]

#: How many failures, and how many skipped files, are listed; more are counted.
LISTED = 1000


class _Lines:
    """The first lines of many, and how many there are."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self.count = 0

    def add(self, line: str) -> None:
        self.count += 1
        if len(self._lines) < LISTED:
            self._lines.append(line)

    def show(self, more: str) -> None:
        for line in self._lines:
            click.echo(printable(line, None), err=True)
        if self.count > len(self._lines):
            click.echo(f"{self.count - len(self._lines)} more {more}", err=True)


class Report:
    """
    Counts the files of a tree.  Memory does not depend on their number.

    :ivar fetched: how many files were saved.
    :ivar equal: how many were there already.
    """

    def __init__(self) -> None:
        self.fetched = 0
        self.equal = 0
        self._failures = _Lines()
        self._skipped = _Lines()
        self._status = 0
        self._hint: str | None = None
        self._missing = ""

    def skipped(self, path: str, kind: str) -> None:
        """The symlink or special file *path* was not fetched."""
        self._skipped.add(f"skipped {path} ({kind})")

    def failed(self, error: CliError) -> None:
        """A file or directory was not saved; the message says which."""
        self._failures.add(f"chatfiles: {error.message}")
        self._status = max(self._status, error.exit_code)
        self._hint = self._hint or error.hint

    def incomplete(self, reason: str) -> None:
        """The listing lacks entries, for a *reason* such as ``too_deep``."""
        self._missing = f": the listing is not complete: {printable(reason).replace('_', ' ')}"
        self._status = max(self._status, Exit.REFUSED)
        self._hint = self._hint or "get the directories below it one by one"

    def show(self, *, quiet: bool) -> None:
        """
        Print what was skipped and what has failed.

        :param quiet: whether only failures are printed.
        """
        if not quiet:
            self._skipped.show("were skipped")
        self._failures.show("were not saved")

    def error(self, complete: str) -> CliError | None:
        """
        :param complete: what was saved, for the end of the message.
        :return: the error with which the command ends; ``None`` without failures.
        """
        count = self._failures.count
        failed = "1 file or directory was" if count == 1 else f"{count} files or directories were"
        if not (count or self._missing):
            return None
        text = f"{failed} not saved" if count else "an unknown number of files were not saved"
        if count and self._missing:
            text += ", and an unknown number of others"
        text += f"{self._missing}; {complete}"
        return CliError(text, self._status, hint=self._hint)
