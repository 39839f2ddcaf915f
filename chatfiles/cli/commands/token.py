"""
``chatfiles token``: creates, lists and revokes the tokens of a workspace.
"""

from __future__ import annotations

import click

from chatfiles.cli.exit_status import EXIT_TABLE
from chatfiles.cli.options import (
    ADMIN,
    Settings,
    administers,
    json_option,
    uuid,
    workspace_argument,
)
from chatfiles.cli.terminal.new_token import NewToken, save_token_option
from chatfiles.cli.terminal.tables import as_object, as_rows, show_rows
from chatfiles.cli.workspaces import find_workspace
from chatfiles.model import Scope

__all__ = ["token"]

COLUMNS = ("id", "prefix", "scopes", "name", "created_at", "last_used_at")


@click.group(epilog=EXIT_TABLE)
def token() -> None:
    """
    Create, list and revoke the tokens that open a workspace.

    \b
    Examples:
      chatfiles token create $ID --scope read --save-token reader.token
      chatfiles token list $ID
    """


@token.command("create", epilog=EXIT_TABLE)
@workspace_argument
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="An operation that it allows; repeatable.  [default: all]",
)
@click.option("--name", metavar="NAME", help="A name that distinguishes it from other tokens.")
@save_token_option
@json_option
@administers
@click.pass_obj
def create_token(
    settings: Settings,
    reference: str,
    scopes: tuple[str, ...],
    name: str | None,
    save_token: str | None,
    as_json: bool,
    admin_token_file: str | None,
) -> None:
    """
    Create a token for a workspace.

    Its scopes: read downloads, write uploads, agent registers.
    The token is shown only this once: the platform keeps its hash.

    \b
    Examples:
      chatfiles token create $ID --scope read --name alice --save-token alice.token
      chatfiles token create $ID --scope read --scope write --json
    """
    body: dict[str, object] = {}
    if scopes:
        body["scopes"] = list(scopes)
    if name is not None:
        body["name"] = name
    with NewToken("token", save_token) as new:
        client = settings.client(ADMIN, admin_token_file)
        workspace_id = find_workspace(client, reference, as_admin=True)
        response = as_object(client.call("POST", f"/workspaces/{workspace_id}/tokens", body))
        new.show(response, ("id", "prefix", "scopes"), as_json=as_json)


@token.command("list", epilog=EXIT_TABLE)
@workspace_argument
@json_option
@administers
@click.pass_obj
def list_tokens(
    settings: Settings, reference: str, as_json: bool, admin_token_file: str | None
) -> None:
    """
    List the live tokens of a workspace.

    Each is shown by its first characters.

    \b
    Example:
      chatfiles token list 3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d
    """
    client = settings.client(ADMIN, admin_token_file)
    workspace_id = find_workspace(client, reference, as_admin=True)
    rows = as_rows(client.call("GET", f"/workspaces/{workspace_id}/tokens"), "tokens")
    show_rows(COLUMNS, rows, as_json=as_json, empty="no tokens; `chatfiles token create` makes one")


@token.command("revoke", epilog=EXIT_TABLE)
@workspace_argument
@click.argument("token_id", callback=uuid, metavar="TOKEN_ID")
@administers
@click.pass_obj
def revoke_token(
    settings: Settings, reference: str, token_id: str, admin_token_file: str | None
) -> None:
    """
    Revoke a token; it stops working at once.

    \b
    Example:
      chatfiles token revoke $ID 9b2d5c1e-0f4a-4b6c-8e7d-1a2b3c4d5e6f
    """
    client = settings.client(ADMIN, admin_token_file)
    workspace_id = find_workspace(client, reference, as_admin=True)
    client.call("DELETE", f"/workspaces/{workspace_id}/tokens/{token_id}")
    click.echo(f"revoked {token_id}", err=True)
