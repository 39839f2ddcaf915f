"""
``chatfiles link``: makes a signed link to a file, to an archive, or for uploads.
"""

from __future__ import annotations

import os
import re

import click

from chatfiles.cli.errors import CliError, warn
from chatfiles.cli.exit_status import EXIT_TABLE
from chatfiles.cli.http.client import Client
from chatfiles.cli.listing.requests import look_at
from chatfiles.cli.options import (
    USER,
    Settings,
    connection_options,
    credential_option,
    workspace_argument,
)
from chatfiles.cli.transfers.output_name import check_absolute
from chatfiles.cli.workspaces import find_workspace
from chatfiles.client.core import writes
from chatfiles.rules.signed_links import MAX_LIFETIME

__all__ = ["link"]

#: Seconds that the workspace has to tell what is at the path.
LOOK_TIMEOUT = 5.0
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604_800}
_LIFETIME = re.compile(r"([0-9]{1,9})([smhdw]?)", re.ASCII)


def _seconds(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """:return: the lifetime in seconds."""
    match = _LIFETIME.fullmatch(value)
    if match is None:
        text = f"{value!r} is not a time like 30s, 10m, 1h or 7d"
        raise click.BadParameter(text, ctx, param)
    seconds = int(match[1]) * _UNITS[match[2] or "s"]
    if seconds > MAX_LIFETIME:
        raise click.BadParameter(f"{value!r} is too long; the longest is 7d", ctx, param)
    if seconds == 0:
        raise click.BadParameter(
            f"{value!r} is too short; every link is valid for a while", ctx, param
        )
    return seconds


@click.command(epilog=EXIT_TABLE)
@workspace_argument
@click.argument("path", required=False, metavar="[PATH]")
@click.option(
    "--expires",
    default="1h",
    show_default=True,
    callback=_seconds,
    metavar="TIME",
    help="How long it is valid: seconds, or with a unit: s, m, h, d, w; at most 7d.",
)
@click.option("--inline", is_flag=True, help="A browser shows the file instead of saving it.")
@click.option(
    "--archive",
    type=click.Choice(["zip", "tar", "tar.gz"]),
    help="Send the file or directory as an archive.",
)
@click.option("--upload", is_flag=True, help="For uploads into the workspace; there is no PATH.")
@credential_option(USER)
@connection_options()
@click.pass_obj
def link(
    settings: Settings,
    reference: str,
    path: str | None,
    expires: int,
    inline: bool,
    archive: str | None,
    upload: bool,
    token_file: str | None,
) -> None:
    """
    Make a link that opens without a token.

    WORKSPACE is its id or its name; PATH is an absolute path there.  Every person who has the link
    can use it until it expires, or the token that made it is revoked.  Only the URL is printed.  A
    warning says if the link does not work now, because nothing is at PATH, or a directory is and
    --archive is missing.  `chatfiles workspace revoke-links` ends all links of a workspace.

    \b
    Examples:
      export CHATFILES_PLATFORM=https://files.example.org
      ID=3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d
      chatfiles link --token-file ws.token $ID /workspace/report.pdf
      chatfiles link --token-file ws.token $ID /workspace/src --archive zip --expires 7d
      chatfiles link --token-file ws.token $ID --upload --expires 1d
    """
    operation = _operation(path, inline, archive, upload)
    virtual = None if path is None else os.fsencode(path)
    client = settings.client(USER, token_file)
    workspace_id = find_workspace(client, reference)
    url = client.run(
        writes.link(
            client.context(workspace_id),
            virtual,
            operation=operation,
            expires_in=expires,
            inline=inline,
            form=archive,
        )
    )
    click.echo(url)
    if virtual is not None:
        _warn(client, workspace_id, virtual, is_archive=archive is not None)


def _operation(path: str | None, inline: bool, archive: str | None, upload: bool) -> str:
    """
    :return: what the link is for.
    :raise UsageError: the options contradict each other.
    :raise CliError: the path is relative.
    """
    if inline + upload + (archive is not None) > 1:
        raise click.UsageError("--inline, --archive and --upload exclude each other")
    if upload and path is not None:
        raise click.UsageError("a link for uploads has no PATH")
    if upload:
        return "upload"
    if not path:
        raise click.UsageError("PATH is missing; only --upload has none")
    check_absolute(path)
    return "file" if archive is None else "archive"


def _warn(client: Client, workspace: str, path: bytes, *, is_archive: bool) -> None:
    """Print a warning if the link does not work now; nothing if it is not known."""
    try:
        kind = look_at(client.within(LOOK_TIMEOUT), workspace, path).kind
    except CliError as error:
        if error.code == "file_not_found":
            warn("nothing is at this path now; the link works only when a file is there")
        return
    if is_archive or kind == "file":
        return
    if kind == "directory":
        warn("this is a directory, so the link does not work; --archive zip makes one that does")
    else:
        warn("this is no regular file, so the link does not work")
