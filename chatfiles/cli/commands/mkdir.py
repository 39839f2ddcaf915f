"""
``chatfiles mkdir``: creates a directory in a workspace.
"""

from __future__ import annotations

import click

from chatfiles.cli.exit_status import EXIT_TABLE
from chatfiles.cli.options import (
    USER,
    Settings,
    connection_options,
    credential_option,
    place,
)
from chatfiles.cli.workspaces import find_workspace
from chatfiles.client.core import writes

__all__ = ["mkdir"]


@click.command(epilog=EXIT_TABLE)
@click.argument("where", callback=place, metavar="WORKSPACE:/PATH")
@click.option("-p", "--parents", is_flag=True, help="Create missing directories above it, too.")
@credential_option(USER)
@connection_options()
@click.pass_obj
def mkdir(
    settings: Settings, where: tuple[str, bytes], parents: bool, token_file: str | None
) -> None:
    """
    Create a directory in a workspace.

    WORKSPACE is its id or its name; PATH is an absolute path there, in a directory that the
    workspace has made writable.  A directory that exists already is no error.

    \b
    Examples:
      export CHATFILES_PLATFORM=https://files.example.org
      ID=3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d
      chatfiles mkdir --token-file ws.token $ID:/workspace/out/new
      chatfiles mkdir --token-file ws.token --parents $ID:/workspace/out/2026/11
    """
    client = settings.client(USER, token_file)
    workspace = find_workspace(client, where[0])
    client.run(writes.mkdir(client.context(workspace), where[1], parents=parents))
