"""
``chatfiles secret``: replaces the secret that the platform presents to a workspace.
"""

from __future__ import annotations

import click

from chatfiles.cli.options import ADMIN, Settings, administers, json_option, workspace_argument
from chatfiles.cli.terminal.tables import as_object, show_json, show_object
from chatfiles.cli.workspaces import find_workspace

__all__ = ["secret"]


@click.group()
def secret() -> None:
    """
    Replace the secret that the platform presents to a workspace.

    \b
    Example:
      chatfiles secret rotate $ID
    """


@secret.command("rotate")
@workspace_argument
@click.option(
    "--force",
    is_flag=True,
    help="Replace it at once, because it has leaked; transfers may fail for 30 seconds.",
)
@json_option
@administers
@click.pass_obj
def rotate(
    settings: Settings, reference: str, force: bool, as_json: bool, admin_token_file: str | None
) -> None:
    """
    Make a new secret; no transfer fails.

    The platform presents it once the workspace has it, which takes up to 32 seconds.  Until then
    its state is "pending".  A workspace of another program never takes it: use --force there.

    \b
    Examples:
      chatfiles secret rotate $ID
      chatfiles secret rotate $ID --force
    """
    client = settings.client(ADMIN, admin_token_file)
    workspace_id = find_workspace(client, reference, as_admin=True)
    target = f"/workspaces/{workspace_id}/secret/rotate"
    response = as_object(client.call("POST", target, {"force": force}))
    if as_json:
        show_json(response)
    else:
        show_object(("state", "prefix" if force else "next_prefix"), response)
