"""
``chatfiles rm``: deletes one file, symlink or empty directory of a workspace.
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

__all__ = ["rm"]


@click.command(epilog=EXIT_TABLE)
@click.argument("where", callback=place, metavar="WORKSPACE:/PATH")
@click.option("-d", "--dir", "directory", is_flag=True, help="Delete an empty directory, too.")
@if_match_option("Only if it is this version")
@credential_option(USER)
@connection_options()
@click.pass_obj
def rm(
    settings: Settings,
    where: tuple[str, bytes],
    directory: bool,
    if_match: str | None,
    token_file: str | None,
) -> None:
    """
    Delete a file, a symlink or an empty directory of a workspace.

    WORKSPACE is its id or its name; PATH is an absolute path there, in a directory that the
    workspace has made writable.  Of a symlink, the link itself is deleted.  Nothing is deleted
    recursively.

    \b
    Examples:
      export CHATFILES_PLATFORM=https://files.example.org
      ID=3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d
      chatfiles rm --token-file ws.token $ID:/workspace/out/report.pdf
      chatfiles rm --token-file ws.token --dir $ID:/workspace/out/old
    """
    client = settings.client(USER, token_file)
    workspace = find_workspace(client, where[0])
    context = client.context(workspace)
    client.run(writes.delete(context, where[1], directory=directory, if_match=if_match))
