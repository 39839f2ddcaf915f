"""
The errors of the command line.

An error is one line that says what happened.  If the user can do something about it, a second line
says what to do.
"""

from __future__ import annotations

from typing import IO, Any

import click

from chatfiles.cli.exit_status import Exit

__all__ = [
    "OF_A_DIRECTORY",
    "PATH_HINT",
    "CliError",
    "Interrupted",
    "local_error",
    "printable",
    "untrusted",
    "warn",
]

#: The hint for a path that is a directory.
OF_A_DIRECTORY = (
    "If it is a directory, get its files with -r, or all of it as one file with --archive zip "
    "(or tar, tar.gz)"
)
#: The hint for a path that cannot be that of a file in a workspace.
PATH_HINT = (
    "a path is absolute and below /configs, /workspace, /home or /plugins, "
    "like /workspace/report.pdf"
)
#: Maximum characters of a server's text that are shown: the text may be a page of HTML.
SHOWN_LENGTH = 500


def printable(text: str, limit: int | None = SHOWN_LENGTH) -> str:
    """
    :param text: any text, even from a server.
    :param limit: maximum number of characters that are kept; ``None`` for all.
    :return: *text* on one line; characters that could control a terminal are escaped.
    """
    if limit is not None and len(text) > limit:
        text = text[:limit] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class CliError(click.ClickException):
    """
    The error with which a command ends.

    :param message: what happened, one sentence without a full stop; escaped when shown.
    :param exit_status: the exit status of the process, see `Exit`.
    :param hint: what the user can do about it.
    :param transient: whether the same request may succeed later.
    :param retry_after: seconds to wait before a retry, if the server sent them.
    :param code: the machine code of the server's error, or its text with underscores for spaces;
        empty if no server sent it.
    """

    def __init__(
        self,
        message: str,
        exit_status: int,
        *,
        hint: str | None = None,
        transient: bool = False,
        retry_after: int | None = None,
        code: str = "",
    ) -> None:
        super().__init__(message)
        self.exit_code = int(exit_status)  # type: ignore[misc]  # click reads it here
        self.hint = hint
        self.transient = transient
        self.retry_after = retry_after
        self.code = code

    def about(self, what: str) -> CliError:
        """:return: the same error; its message begins with *what*, such as a path."""
        return CliError(
            f"{what}: {self.message}",
            self.exit_code,
            hint=self.hint,
            transient=self.transient,
            retry_after=self.retry_after,
            code=self.code,
        )

    def show(self, file: IO[Any] | None = None) -> None:
        """
        Print the error.

        :param file: where to write; by default standard error.
        """
        click.echo(f"chatfiles: {printable(self.message, None)}", file=file, err=True)
        if self.hint:
            click.echo(f"hint: {printable(self.hint, None)}", file=file, err=True)


class Interrupted(CliError):
    """
    A signal ended the command.

    :param signum: the signal; the exit status is 128 more, as shells report it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__("interrupted", 128 + signum)


def local_error(what: str, error: OSError, hint: str | None = None) -> CliError:
    """
    :param what: what failed, such as "cannot write X".
    :param error: why.
    :param hint: what the user can do about it.
    :return: the error for a failed operation on a local file.
    """
    return CliError(f"{what}: {error.strerror or error}", Exit.LOCAL, hint=hint)


def untrusted(why: str) -> CliError:
    """
    :param why: what is wrong with the response.
    :return: the error for a response that breaks a rule of HTTP or of the platform's API.
    """
    return CliError(
        f"the response cannot be trusted: {why}",
        Exit.INCOMPLETE,
        hint="does --platform name a chatfiles platform, or is something between you and it?",
    )


def warn(text: str) -> None:
    """Write a warning to standard error; the command continues."""
    click.echo(f"chatfiles: warning: {printable(text, None)}", err=True)
