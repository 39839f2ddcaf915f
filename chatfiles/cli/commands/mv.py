"""
``chatfiles mv``: renames or moves something in a workspace.
"""

from __future__ import annotations

import click

from chatfiles.cli.exit_status import EXIT_TABLE
from chatfiles.cli.options import (
    USER,
    Settings,
    connection_options,
    credential_option,
    if_match_option,
    place,
)
from chatfiles.cli.workspaces import find_workspace
from chatfiles.client.core import writes

__all__ = ["mv"]


@click.command(epilog=EXIT_TABLE)
@click.argument("origin", callback=place, metavar="WORKSPACE:/FROM")
@click.argument("destination", callback=place, metavar="WORKSPACE:/TO")
@click.option("--overwrite", is_flag=True, help="A file may replace a file.")
@if_match_option("Only if FROM is this version")
@credential_option(USER)
@connection_options()
@click.pass_obj
def mv(
    settings: Settings,
    origin: tuple[str, bytes],
    destination: tuple[str, bytes],
    overwrite: bool,
    if_match: str | None,
    token_file: str | None,
) -> None:
    """
    Rename or move something in a workspace.

    WORKSPACE is its id or its name, the same one twice; FROM and TO are absolute paths there, in
    directories that the workspace has made writable.  TO is the new name itself, never a directory
    to move into.  Nothing is copied to another file system.

    \b
    Examples:
      export CHATFILES_PLATFORM=https://files.example.org
      ID=3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d
      chatfiles mv --token-file ws.token $ID:/workspace/out/a.txt $ID:/workspace/out/b.txt
      chatfiles mv --token-file ws.token --overwrite $ID:/workspace/new $ID:/workspace/old
    """
    if origin[0] != destination[0]:
        raise click.UsageError("both paths must be in the same workspace: nothing is copied")
    client = settings.client(USER, token_file)
    context = client.context(find_workspace(client, origin[0]))
    paths = origin[1], destination[1]
    client.run(writes.move(context, *paths, overwrite=overwrite, if_match=if_match))
