"""
``chatfiles workspace``: creates, lists, shows and removes workspaces, and revokes their links.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from chatfiles.cli.errors import warn
from chatfiles.cli.exit_status import EXIT_TABLE
from chatfiles.cli.http.client import Client
from chatfiles.cli.options import (
    ADMIN,
    USER,
    Settings,
    administers,
    credential_option,
    json_option,
    uuid,
    workspace_argument,
)
from chatfiles.cli.terminal.new_token import NewToken, save_token_option
from chatfiles.cli.terminal.tables import as_object, show_json, show_object, show_rows
from chatfiles.cli.workspaces import all_workspaces, find_workspace, named

__all__ = ["workspace"]

COLUMNS = ("id", "name", "status", "url", "delivery_mode", "last_heartbeat_at")


@click.group(epilog=EXIT_TABLE)
def workspace() -> None:
    """
    Create, list, show and remove workspaces, and revoke their links.

    \b
    Examples:
      chatfiles workspace create --name build-7 --url http://10.1.2.3:8000
      chatfiles workspace list
      chatfiles workspace revoke-links $ID
    """


@workspace.command("create", epilog=EXIT_TABLE)
@click.option("--name", metavar="NAME", help="A name for people.")
@click.option(
    "--url",
    metavar="URL",
    help="Where the platform reaches it.  It can register its own URL later.",
)
@click.option("--delivery-mode", metavar="MODE", help="push, if the platform can connect to it.")
@click.option(
    "--id", "workspace_id", callback=uuid, metavar="UUID", help="Its id.  [default: a new one]"
)
@save_token_option
@json_option
@administers
@click.pass_obj
def create_workspace(
    settings: Settings,
    name: str | None,
    url: str | None,
    delivery_mode: str | None,
    workspace_id: str | None,
    save_token: str | None,
    as_json: bool,
    admin_token_file: str | None,
) -> None:
    """
    Create a workspace and its first token.

    The token allows everything in the workspace, which also registers with it.  It is shown only
    this once: the platform keeps its hash.  If another workspace has the name, the command asks on
    a terminal, and warns elsewhere: only a unique name can replace the id.

    \b
    Examples:
      chatfiles workspace create --name build-7 --save-token build-7.token
      chatfiles workspace create --url http://10.1.2.3:8000 --json
    """
    wanted = {"name": name, "url": url, "delivery_mode": delivery_mode, "id": workspace_id}
    body = {key: value for key, value in wanted.items() if value is not None}
    with NewToken("auth_token", save_token) as new:
        client = settings.client(ADMIN, admin_token_file)
        if name is not None:
            _check_unique(client, name)
        new.show(
            as_object(client.call("POST", "/workspaces", body)), ("id", "name"), as_json=as_json
        )


def _check_unique(client: Client, name: str) -> None:
    """
    Ask or warn if a workspace has this name already.

    :raise click.Abort: the user does not want another one.
    """
    ids = named(client, name)
    if not ids:
        return
    if sys.stdin.isatty():
        question = f"Workspace {ids[0]} is named {name!r} already. Create another one?"
        click.confirm(question, abort=True, err=True)
    else:
        warn(f"workspace {ids[0]} is named {name!r} already; give ids in place of the name")


@workspace.command("list", epilog=EXIT_TABLE)
@json_option
@administers
@click.pass_obj
def list_workspaces(settings: Settings, as_json: bool, admin_token_file: str | None) -> None:
    """
    List the workspaces, oldest first.

    \b
    Example:
      chatfiles workspace list --json | jq -r '.[].id'
    """
    client = settings.client(ADMIN, admin_token_file)
    show_rows(
        COLUMNS,
        [row if as_json else _with_way(row) for row in all_workspaces(client)],
        as_json=as_json,
        empty="no workspaces; `chatfiles workspace create` makes one",
    )


@workspace.command("show", epilog=EXIT_TABLE)
@workspace_argument
@json_option
@credential_option(USER)
@administers
@click.pass_obj
def show_workspace(
    settings: Settings,
    reference: str,
    as_json: bool,
    token_file: str | None,
    admin_token_file: str | None,
) -> None:
    """
    Show what the platform knows about one workspace.

    With --token-file, a token of the workspace replaces the admin token.

    \b
    Example:
      chatfiles workspace show 3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d
    """
    if token_file is not None and admin_token_file is None:
        client, as_admin = settings.client(USER, token_file), False
    else:
        client, as_admin = settings.client(ADMIN, admin_token_file), True
    workspace_id = find_workspace(client, reference, as_admin=as_admin)
    answer = as_object(client.call("GET", f"/workspaces/{workspace_id}"))
    if as_json:
        show_json(answer)
    else:
        show_object(COLUMNS, _with_way(answer))


@workspace.command("remove", epilog=EXIT_TABLE)
@workspace_argument
@click.option("-y", "--yes", is_flag=True, help="Remove it without asking.")
@administers
@click.pass_obj
def remove_workspace(
    settings: Settings, reference: str, yes: bool, admin_token_file: str | None
) -> None:
    """
    Remove a workspace and revoke all its tokens.  Its files stay where they are.

    On a terminal it asks first.

    \b
    Example:
      chatfiles workspace remove 3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d
    """
    client = settings.client(ADMIN, admin_token_file)
    workspace_id = find_workspace(client, reference, as_admin=True)
    if not yes and sys.stdin.isatty():
        question = f"Remove workspace {workspace_id} and revoke its tokens, for good?"
        click.confirm(question, abort=True, err=True)
    client.call("DELETE", f"/workspaces/{workspace_id}")
    click.echo(f"removed {workspace_id}", err=True)


@workspace.command("revoke-links", epilog=EXIT_TABLE)
@workspace_argument
@administers
@click.pass_obj
def revoke_links(settings: Settings, reference: str, admin_token_file: str | None) -> None:
    """
    End all links of a workspace that exist now, of all tokens.

    Links that are made afterwards are valid.  `chatfiles token revoke` ends the links of one token.

    \b
    Example:
      chatfiles workspace revoke-links 3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d
    """
    client = settings.client(ADMIN, admin_token_file)
    workspace_id = find_workspace(client, reference, as_admin=True)
    client.call("DELETE", f"/workspaces/{workspace_id}/links")
    click.echo(f"revoked all links of {workspace_id}", err=True)


def _with_way(row: dict[str, Any]) -> dict[str, Any]:
    """:return: a workspace for people; in place of a URL, how it is reached without one."""
    channel = row.get("channel")
    if row.get("url") or not isinstance(channel, dict):
        return row
    return {**row, "url": "(connected)" if channel.get("connected") else "(not connected)"}
