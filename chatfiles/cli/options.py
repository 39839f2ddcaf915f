"""
The options that commands share: the platform's address, and the credential to send.

``--platform``, ``--ca`` and ``--timeout`` may stand before or after the command's name.  A
credential comes from a file or the environment, never from the command line, which other users can
read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chatfiles.cli.errors import CliError, warn
from chatfiles.cli.exit_status import Exit
from chatfiles.model import parse_uuid
from chatfiles.rules.bearer import is_token
from chatfiles.rules.urls import parse_base_url

if TYPE_CHECKING:
    from chatfiles.cli.http.client import Client

__all__ = [
    "ADMIN",
    "LOCAL_PATH",
    "USER",
    "Credential",
    "Settings",
    "WholeNumber",
    "administers",
    "connection_options",
    "credential_option",
    "directory_path",
    "if_match_option",
    "json_option",
    "place",
    "read_secret_file",
    "uuid",
    "workspace",
    "workspace_argument",
]

DEFAULT_PLATFORM = "http://127.0.0.1:8080"
#: Longer than the platform's own deadlines, so that its error arrives before this timeout.
DEFAULT_TIMEOUT = 90.0
#: The longest timeout in seconds that a socket accepts; also excludes infinity and "nan".
LONGEST_TIMEOUT = 10.0**6
#: Maximum characters of a credential's file; the platform's tokens have 43.
SECRET_LIMIT = 8192

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Credential:
    """
    The sources of one kind of bearer token, in this order: the option, the variable that holds it,
    the variable that names its file, the default file.

    :param what: its name in messages.
    :param option: the option that names its file.
    :param variable: the environment variable that holds it.
    :param file_variable: the environment variable that names its file.
    :param default_file: a file that is used if it exists.
    :param if_missing: the hint if there is no token.
    :param if_refused: the hint if the platform refuses the token.
    """

    what: str
    option: str
    variable: str
    file_variable: str
    default_file: str | None
    if_missing: str
    if_refused: str

    def find(self, file: str | None, environ: Mapping[str, str]) -> str:
        """
        :param file: the option's value.
        :param environ: the environment variables.
        :return: the token.
        :raise CliError: there is no token, or its file cannot be read or does not hold a token.
        """
        if file is None and environ.get(self.variable):
            return _checked(environ[self.variable], self.variable)
        file = file or environ.get(self.file_variable)
        if file is None and self.default_file and os.path.lexists(self.default_file):
            file = self.default_file
        if file is None:
            raise CliError(f"no {self.what} given", Exit.CREDENTIALS, hint=self.if_missing)
        return read_secret_file(file)


USER = Credential(
    what="token",
    option="--token-file",
    variable="CHATFILES_TOKEN",
    file_variable="CHATFILES_TOKEN_FILE",
    default_file=None,
    if_missing="name its file with --token-file FILE or CHATFILES_TOKEN_FILE, or set "
    "CHATFILES_TOKEN; "
    "an administrator makes one with `chatfiles token create WORKSPACE`",
    if_refused="is it for this workspace, and not revoked?",
)
ADMIN = Credential(
    what="admin token",
    option="--admin-token-file",
    variable="CHATFILES_ADMIN_TOKEN",
    file_variable="CHATFILES_ADMIN_TOKEN_FILE",
    default_file=os.path.join("chatfiles-state", "admin-token"),
    if_missing="name its file with --admin-token-file FILE or CHATFILES_ADMIN_TOKEN_FILE, or set "
    "CHATFILES_ADMIN_TOKEN; "
    "the platform keeps it as admin-token in its state directory",
    if_refused="is it this platform's admin token?",
)


def read_secret_file(path: str) -> str:
    """
    Read a token from a file.  Prints a warning if other users can read the file.

    :param path: a file, pipe or device that holds one token, with or without white space around it.
    :return: the token.
    :raise CliError: the file cannot be read, or does not hold exactly one token.
    """
    try:
        with open(path, encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(SECRET_LIMIT)
    except OSError as error:
        raise CliError(
            f"cannot read the token in {path}: {error.strerror}", Exit.CREDENTIALS
        ) from error
    except ValueError:  # not text
        text = ""
    if stat.S_ISREG(mode) and mode & 0o044:
        warn(f"other users can read {path}; `chmod 600` keeps it to you")
    return _checked(text, path)


def _checked(text: str, source: str) -> str:
    token = text.strip()
    if not is_token(token) or len(text) >= SECRET_LIMIT:
        raise CliError(f"{source} does not hold a token", Exit.CREDENTIALS)
    return token


@dataclass
class Settings:
    """
    The options that all commands share; the object of the click context.

    :ivar platform: the platform's base URL.
    :ivar timeout: seconds without a byte after which a request fails.
    :ivar ca: a file of certificate authorities to trust besides the machine's; empty for none.
    :ivar environ: the environment variables.
    """

    platform: str = DEFAULT_PLATFORM
    timeout: float = DEFAULT_TIMEOUT
    ca: str = ""
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def client(self, credential: Credential, file: str | None) -> Client:
        """
        :param credential: which kind of token to send.
        :param file: the value of the credential's option.
        :return: a client of the platform.
        :raise CliError: there is no such token.
        """
        from chatfiles.cli.http.client import Client  # noqa: PLC0415 - `--help` needs no TLS

        token = credential.find(file, self.environ)
        on_401 = credential.if_refused
        return Client(self.platform, token, timeout=self.timeout, on_401=on_401, ca=self.ca)


class WholeNumber(click.IntRange):
    """`click.IntRange` calls itself an integer range in messages to people."""

    name = "whole number"

    def _describe_range(self) -> str:
        """:return: the range for ``--help`` and errors; the one of click is in symbols."""
        return f"{self.min} or more" if self.max is None else f"{self.min} to {self.max}"


#: A path of this machine, which shells complete.  Opening the file reports what is wrong with it.
LOCAL_PATH = click.Path(readable=False)


def uuid(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """
    Check an option or argument that is an id; a callback of click.

    :return: the UUID in lower case; ``None`` if none was given.
    :raise BadParameter: *value* is not a UUID.
    """
    if value is None:
        return None
    parsed = parse_uuid(value)
    if parsed is None:
        raise click.BadParameter(
            f"{value!r} is not an id; ids look like 3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d",
            ctx,
            param,
        )
    return str(parsed)


def workspace(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """
    Check an argument that is the id or the name of a workspace; a callback of click.

    :return: the UUID in lower case, or the name.
    :raise BadParameter: *value* is empty or looks like a path.
    """
    parsed = parse_uuid(value)
    if value in ("", ".", "..") or value.startswith("/"):
        text = f"{value!r} is neither the id nor the name of a workspace"
        raise click.BadParameter(text, ctx, param)
    return value if parsed is None else str(parsed)


def directory_path(_: click.Context, __: click.Parameter, value: str | None) -> bytes | None:
    """
    Read an argument that is a virtual path, perhaps of a directory; a callback of click.

    :return: the path in bytes, without slashes at its end; ``None`` if none was given.
    """
    return None if value is None else os.fsencode(value.rstrip("/") or value)


def place(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, bytes]:
    """
    Read an argument that names a path in a workspace, ``WORKSPACE:/path``; a callback of click.

    :return: the id or name of the workspace, and the virtual path without slashes at its end.
    :raise BadParameter: *value* has another form.
    """
    reference, colon, path = value.partition(":/")
    if not colon:
        text = f"{value!r} is not like WORKSPACE:/workspace/report.pdf"
        raise click.BadParameter(text, ctx, param)
    return workspace(ctx, param, reference), os.fsencode("/" + path.rstrip("/"))


def _entity_tag(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    from chatfiles.client.core.names import condition  # noqa: PLC0415 - `--help` does without

    is_whole = value is None or value == "*" or value.endswith('"')
    tag = value if is_whole else f'"{value}"'
    try:
        return condition(tag).get("If-Match")
    except ValueError:
        raise click.BadParameter(f"{value!r} is not an entity tag", ctx, param) from None


def if_match_option(condition: str) -> Callable[[_Command], _Command]:
    """
    The option ``--if-match``; the command receives an entity tag, which may be given without its
    quotes, or ``None``.

    :param condition: what has to be this version, for its help.
    :return: a decorator that adds it.
    """
    return click.option(
        "--if-match",
        metavar="ETAG",
        callback=_entity_tag,
        help=f"{condition}, as `chatfiles stat` shows it.",
    )


def _platform(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    try:
        _settings(ctx).platform = parse_base_url(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: {error}", ctx, param) from error


def _timeout(ctx: click.Context, param: click.Parameter, value: float | None) -> None:
    if value is None:
        return
    if not 0 < value < LONGEST_TIMEOUT:
        raise click.BadParameter("it must be a number of seconds above 0", ctx, param)
    _settings(ctx).timeout = value


def _ca(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    import ssl  # noqa: PLC0415 - `--help` needs no TLS

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(value)
    except OSError as error:
        text = f"{value!r} is no file of certificates in PEM format ({error.strerror or error})"
        raise click.BadParameter(text, ctx, param) from error
    _settings(ctx).ca = value


def _settings(ctx: click.Context) -> Settings:
    return ctx.ensure_object(Settings)


def connection_options(*, top: bool = False) -> Callable[[_Command], _Command]:
    """
    The options of `Settings`, for a command.

    :param top: whether they are for the command group, where they also have environment variables.
    :return: a decorator that adds them.
    """

    def decorate(command: _Command) -> _Command:
        command = click.option(
            "--timeout",
            type=float,
            metavar="SECONDS",
            envvar="CHATFILES_TIMEOUT" if top else None,
            callback=_timeout,
            expose_value=False,
            help=f"Give up after this time without a byte.  [default: {DEFAULT_TIMEOUT:g}]",
        )(command)
        command = click.option(
            "--ca",
            type=LOCAL_PATH,
            metavar="FILE",
            envvar="CHATFILES_CA" if top else None,
            callback=_ca,
            expose_value=False,
            help="Certificate authorities to trust besides those of the machine, in PEM format; "
            "also from CHATFILES_CA.",
        )(command)
        return click.option(
            "--platform",
            metavar="URL",
            envvar="CHATFILES_PLATFORM" if top else None,
            callback=_platform,
            expose_value=False,
            help="The platform's base URL, also from CHATFILES_PLATFORM.  "
            f"[default: {DEFAULT_PLATFORM}]",
        )(command)

    return decorate


def credential_option(credential: Credential) -> Callable[[_Command], _Command]:
    """
    The option that names the file of *credential*; the command receives the path.

    :return: a decorator that adds it.
    """
    return click.option(
        credential.option,
        metavar="FILE",
        type=LOCAL_PATH,
        help=f"File that holds the {credential.what}.  Otherwise {credential.variable} holds it, "
        f"or {credential.file_variable} names its file"
        + (f", or it is ./{credential.default_file}." if credential.default_file else "."),
    )


def administers(command: _Command) -> _Command:
    """:return: *command* with the options of every administrative command."""
    return credential_option(ADMIN)(connection_options()(command))


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
workspace_argument = click.argument("reference", callback=workspace, metavar="WORKSPACE")
