"""
``chatfiles stat``: shows what is known about one file or directory of a workspace.
"""

from __future__ import annotations

import click

from chatfiles.cli.exit_status import EXIT_TABLE
from chatfiles.cli.listing.requests import look_at
from chatfiles.cli.options import (
    USER,
    Settings,
    connection_options,
    credential_option,
    directory_path,
    json_option,
    workspace_argument,
)
from chatfiles.cli.terminal.tables import show_json, show_object
from chatfiles.cli.workspaces import find_workspace

__all__ = ["stat"]

#: The members of an entry, in the order in which they are shown.
MEMBERS = (
    "name", "ref", "type", "size", "mtime", "mode", "media_type", "etag", "readable", "error",
)  # fmt: skip


@click.command(epilog=EXIT_TABLE)
@workspace_argument
@click.argument("path", metavar="PATH", callback=directory_path)
@json_option
@credential_option(USER)
@connection_options()
@click.pass_obj
def stat(
    settings: Settings, reference: str, path: bytes, as_json: bool, token_file: str | None
) -> None:
    """
    Show what is known about a file or directory of a workspace.

    WORKSPACE is its id or its name; PATH is an absolute path there.  A symlink is shown as such; it
    is not followed.

    \b
    Examples:
      export CHATFILES_PLATFORM=https://files.example.org
      ID=3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d
      chatfiles stat --token-file ws.token $ID /workspace/report.pdf
      chatfiles stat --token-file ws.token --json $ID /workspace/report.pdf | jq .size
    """
    client = settings.client(USER, token_file)
    entry = look_at(client, find_workspace(client, reference), path)
    if as_json:
        show_json(entry.received)
    else:
        show_object([member for member in MEMBERS if member in entry.received], entry.received)
