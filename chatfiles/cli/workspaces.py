"""
Finds workspaces by name.

The admin token lists all workspaces.  Any other token opens one workspace, so only the name of that
one can be looked up with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from chatfiles.cli.errors import CliError, untrusted
from chatfiles.cli.exit_status import Exit
from chatfiles.cli.http.client import Client
from chatfiles.cli.terminal.tables import as_object, as_rows
from chatfiles.model import parse_uuid

__all__ = ["all_workspaces", "find_workspace", "named"]

#: How many ids a message lists.
LISTED = 5


def all_workspaces(client: Client) -> Iterator[dict[str, Any]]:
    """
    :param client: has the admin token.
    :return: the workspaces of every page of the list.
    :raise CliError: a page could not be read.
    """
    route = "/workspaces"
    while True:
        answer = client.call("GET", route)
        rows = as_rows(answer, "workspaces")
        yield from rows
        behind = answer.get("next") if isinstance(answer, dict) else None
        if behind is None:
            return
        if not (rows and isinstance(behind, str) and behind.isascii()):
            raise untrusted("it says that more comes, but not where")
        route = f"/workspaces?after={quote(behind)}"


def named(client: Client, name: str) -> list[str]:
    """
    :param client: has the admin token.
    :return: the ids of the workspaces with exactly this name, oldest first.
    :raise CliError: the list could not be read.
    """
    return [_id_of(row) for row in all_workspaces(client) if row.get("name") == name]


def find_workspace(client: Client, reference: str, *, as_admin: bool = False) -> str:
    """
    :param client: sends a request only if *reference* is a name.
    :param reference: the id of a workspace, in lower case, or its name.
    :param as_admin: whether the client is known to have the admin token.
    :return: the id.
    :raise CliError: no workspace, or more than one, has this name.
    """
    if parse_uuid(reference) is not None:
        return reference
    own = None if as_admin else _own_workspace(client)
    if own is not None:
        return _check_own(own, reference)
    ids = named(client, reference)
    if not ids:
        raise CliError(
            f"no workspace is named {reference!r}",
            Exit.NOT_FOUND,
            hint="`chatfiles workspace list` shows their names and ids",
        )
    if len(ids) > 1:
        more = ", …" if len(ids) > LISTED else ""
        raise CliError(
            f"{len(ids)} workspaces are named {reference!r}",
            Exit.USAGE,
            hint=f"give the id of the right one: {', '.join(ids[:LISTED])}{more}",
        )
    return ids[0]


def _own_workspace(client: Client) -> dict[str, Any] | None:
    """:return: the workspace of the client's token; ``None`` for the admin token."""
    try:
        answer = as_object(client.call("GET", "/token"))
    except CliError as error:
        if error.exit_code != Exit.NOT_FOUND:
            raise
        raise CliError(
            "this platform does not look up names of workspaces",
            Exit.USAGE,
            hint="give the workspace's id, like 3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d",
        ) from error
    own = answer.get("workspace")
    return None if own is None else as_object(own)


def _check_own(own: dict[str, Any], name: str) -> str:
    workspace_id = _id_of(own)
    if own.get("name") != name:
        raise CliError(
            f"the token does not open a workspace named {name!r}",
            Exit.NOT_FOUND,
            hint=f"it opens {own.get('name')!r}, {workspace_id}",
        )
    return workspace_id


def _id_of(row: dict[str, Any]) -> str:
    parsed = parse_uuid(str(row.get("id")))
    if parsed is None:
        raise untrusted("it names a workspace without an id")
    return str(parsed)
