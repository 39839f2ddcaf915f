"""
Shows or saves a token that the platform has just created, because it is not shown again.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Self

import click

from chatfiles.cli.errors import local_error, printable, untrusted
from chatfiles.cli.options import LOCAL_PATH
from chatfiles.cli.terminal.tables import show_json, show_object
from chatfiles.rules.bearer import is_token

__all__ = ["NewToken", "save_token_option"]

save_token_option = click.option(
    "--save-token",
    metavar="FILE",
    type=LOCAL_PATH,
    help="Write the token to a new file that only you can read, instead of showing it.",
)


class NewToken:
    """
    Receives a token that is about to be created; a context manager.  It creates the token's file
    before the request, so that no token is created that cannot be saved.  It removes the file if no
    token arrives.

    :param member: the member of the response that holds the token.
    :param path: a file that does not exist; ``None`` to show the token.
    """

    def __init__(self, member: str, path: str | None) -> None:
        self._member = member
        self._path = path
        self._descriptor: int | None = None
        self._kept = False

    def __enter__(self) -> Self:
        """
        Create the file.

        :raise CliError: it cannot be created.
        """
        if self._path is not None:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            try:
                self._descriptor = os.open(self._path, flags, 0o600)
            except OSError as error:
                raise local_error(f"cannot make {self._path}", error) from error
        return self

    def __exit__(self, *raised: object) -> None:
        if self._path is not None and self._descriptor is not None:
            os.close(self._descriptor)
            if not self._kept:
                os.unlink(self._path)

    def show(self, answer: dict[str, Any], names: tuple[str, ...], *, as_json: bool) -> None:
        """
        Save or print the token in the platform's response, and print other members of it.

        :param names: the members to show besides the token.
        :param as_json: whether to print all members as JSON.
        :raise CliError: the response has no token, or the token cannot be written.
        """
        secret = answer.get(self._member)
        if not isinstance(secret, str) or not is_token(secret):
            raise untrusted("it has no token")
        if self._path is not None:
            self._keep(secret)
            answer = {name: value for name, value in answer.items() if name != self._member}
        else:
            names = (*names, self._member)
        if as_json:
            show_json(answer)
        else:
            show_object(names, answer)
        if self._path is not None:
            click.echo(f"the token is in {printable(self._path)}", err=True)
        elif sys.stdout.isatty():
            click.echo(
                "Save the token now, in a file that only you can read: it is not shown again.",
                err=True,
            )

    def _keep(self, secret: str) -> None:
        if self._descriptor is None:
            raise AssertionError("a token can only be kept inside the context")
        try:
            os.write(self._descriptor, f"{secret}\n".encode())
            os.fsync(self._descriptor)
        except OSError as error:
            raise local_error(f"cannot write {self._path}", error) from error
        self._kept = True
