"""
``chatfiles workspace``: creates, lists, shows and removes workspaces.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import click

from chatfiles.cli.errors import untrusted
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
from chatfiles.cli.terminal.tables import as_object, as_rows, show_json, show_object, show_rows

__all__ = ["workspace"]

COLUMNS = ("id", "name", "status", "url", "delivery_mode", "last_heartbeat_at")


@click.group()
def workspace() -> None:
    """
    Create, list, show and remove workspaces.

    \b
    Examples:
      chatfiles workspace create --name build-7 --url http://10.1.2.3:8000
      chatfiles workspace list
    """


@workspace.command("create")
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
    this once: the platform keeps its hash.

    \b
    Examples:
      chatfiles workspace create --name build-7 --save-token build-7.token
      chatfiles workspace create --url http://10.1.2.3:8000 --json
    """
    wanted = {"name": name, "url": url, "delivery_mode": delivery_mode, "id": workspace_id}
    body = {key: value for key, value in wanted.items() if value is not None}
    with NewToken("auth_token", save_token) as new:
        client = settings.client(ADMIN, admin_token_file)
        new.show(
            as_object(client.call("POST", "/workspaces", body)), ("id", "name"), as_json=as_json
        )


@workspace.command("list")
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
        list(_all_workspaces(client)),
        as_json=as_json,
        empty="no workspaces; `chatfiles workspace create` makes one",
    )


def _all_workspaces(client: Client) -> Iterator[dict[str, Any]]:
    """:return: the workspaces of every page of the list."""
    route = "/workspaces"
    while True:
        answer = client.call("GET", route)
        rows = as_rows(answer, "workspaces")
        yield from rows
        behind = answer.get("next") if isinstance(answer, dict) else None
        if behind is None:
            return
        if not rows or not isinstance(behind, str):
            raise untrusted("it says that more comes, but not where")
        route = f"/workspaces?after={quote(behind)}"


@workspace.command("show")
@workspace_argument
@json_option
@credential_option(USER)
@administers
@click.pass_obj
def show_workspace(
    settings: Settings,
    workspace_id: str,
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
        client = settings.client(USER, token_file)
    else:
        client = settings.client(ADMIN, admin_token_file)
    answer = as_object(client.call("GET", f"/workspaces/{workspace_id}"))
    if as_json:
        show_json(answer)
    else:
        show_object(COLUMNS, answer)


@workspace.command("remove")
@workspace_argument
@click.option("-y", "--yes", is_flag=True, help="Remove it without asking.")
@administers
@click.pass_obj
def remove_workspace(
    settings: Settings, workspace_id: str, yes: bool, admin_token_file: str | None
) -> None:
    """
    Remove a workspace and revoke all its tokens.  Its files stay where they are.

    On a terminal it asks first.

    \b
    Example:
      chatfiles workspace remove 3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d
    """
    client = settings.client(ADMIN, admin_token_file)
    if not yes and sys.stdin.isatty():
        question = f"Remove workspace {workspace_id} and revoke its tokens, for good?"
        click.confirm(question, abort=True, err=True)
    client.call("DELETE", f"/workspaces/{workspace_id}")
    click.echo(f"removed {workspace_id}", err=True)
