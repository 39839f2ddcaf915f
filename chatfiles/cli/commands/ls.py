"""
``chatfiles ls``: lists a directory of a workspace, or everything below it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from chatfiles.cli.errors import CliError, warn
from chatfiles.cli.exit_status import EXIT_TABLE, Exit
from chatfiles.cli.http.client import Client
from chatfiles.cli.listing.entry import Entry, visible
from chatfiles.cli.listing.output import Form, choose_form, json_line, nul, plain, write
from chatfiles.cli.listing.requests import EntryStream, list_directory, list_roots, look_at
from chatfiles.cli.options import (
    USER,
    Settings,
    connection_options,
    credential_option,
    directory_path,
    workspace_argument,
)
from chatfiles.cli.workspaces import find_workspace

__all__ = ["ls"]


@click.command(epilog=EXIT_TABLE)
@workspace_argument
@click.argument("path", required=False, metavar="[PATH]", callback=directory_path)
@click.option("-l", "--long", is_flag=True, help="A table that also has modes and types.")
@click.option(
    "-R",
    "--recursive",
    is_flag=True,
    help="Everything below PATH, in the order in which the workspace finds it.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on a line, for programs.")
@click.option(
    "-0", "--null", "nul_separated", is_flag=True, help="Names in bytes, each followed by a NUL."
)
@credential_option(USER)
@connection_options()
@click.pass_obj
def ls(
    settings: Settings,
    reference: str,
    path: bytes | None,
    long: bool,
    recursive: bool,
    as_json: bool,
    nul_separated: bool,
    token_file: str | None,
) -> None:
    """
    List a directory of a workspace.

    WORKSPACE is its id or its name; PATH is an absolute path there.  Without PATH, the directories
    that the workspace serves are listed; -l also lists those in which clients may write, as
    "writable".  On a terminal this is a table of sizes, times and names;
    elsewhere it is one name on a line.  Symlinks are listed and never followed.

    \b
    Examples:
      export CHATFILES_PLATFORM=https://files.example.org
      ID=3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d
      chatfiles ls --token-file ws.token $ID
      chatfiles ls --token-file ws.token -l $ID /workspace
      chatfiles ls --token-file ws.token -R --json $ID /workspace | jq -r 'select(.size > 1e6) .ref'
      chatfiles ls --token-file ws.token -R -0 $ID /workspace | grep -zc '\\.py$'
    """
    if as_json and nul_separated:
        raise click.UsageError("--json and -0 exclude each other")
    if recursive and path is None:
        raise click.UsageError("-R needs PATH")
    client = settings.client(USER, token_file)
    workspace = find_workspace(client, reference)
    if path is None:
        roots = list_roots(client, workspace)
        _show_roots(roots, long=long, as_json=as_json, nul_separated=nul_separated)
        return
    form = choose_form(long=long, as_json=as_json, nul_separated=nul_separated)
    if recursive:
        _show_tree(EntryStream(client, workspace, path), path, form)
    else:
        _end(_show(_list(client, workspace, path), form))


def _list(client: Client, workspace: str, path: bytes) -> Iterator[Entry]:
    """:return: what is in the directory *path*; its own entry if it is no directory."""
    try:
        yield from list_directory(client, workspace, path)
    except CliError as error:
        if error.code != "not_a_directory":
            raise
        yield look_at(client, workspace, path)


def _show(entries: Iterator[Entry], form: Form, above: bytes | None = None) -> int:
    """
    Write *entries*.

    :param above: the directory whose path is left out of their names; by default their own.
    :return: how many of them the workspace could not look at.
    """
    failures = 0
    for entry in entries:
        name = entry.name if above is None else entry.below(above)
        write(form(entry, name))
        if entry.error is not None:
            failures += 1
            warn(f"{visible(name)}: {entry.error}")
    return failures


def _show_tree(stream: EntryStream, path: bytes, form: Form) -> None:
    failures = _show(iter(stream), form, path)
    if stream.incomplete:
        sys.stdout.flush()
        raise CliError(
            f"the listing is not complete: {stream.incomplete.replace('_', ' ')}",
            Exit.REFUSED,
            hint="list the directories below it one by one; "
            "--max-list-entries of the workspace sets the limit of entries",
        )
    _end(failures)


def _end(failures: int) -> None:
    sys.stdout.flush()
    if failures:
        raise SystemExit(int(Exit.FAILED))


def _show_roots(
    roots: Sequence[dict[str, Any]], *, long: bool, as_json: bool, nul_separated: bool
) -> None:
    is_table = long or sys.stdout.isatty()
    for root in roots:
        name = root["path"].encode("utf-8", "backslashreplace")
        if as_json:
            write(json_line(root))
        elif nul_separated:
            write(nul(name))
        else:
            state = b"unavailable  " if root.get("available") is False else b"available    "
            write((state if is_table else b"") + plain(name, terminal=is_table))
            prefixes = root.get("writable") if is_table else ()
            for prefix in prefixes if isinstance(prefixes, list) else ():
                shown = str(prefix).encode("utf-8", "backslashreplace")
                write(b"writable     " + plain(shown, terminal=True))
    sys.stdout.flush()
