"""
``chatfiles put``: uploads files to a workspace, or writes a file at a path there.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

import click

from chatfiles.cli.errors import CliError, printable, warn
from chatfiles.cli.exit_status import EXIT_TABLE, Exit
from chatfiles.cli.options import (
    LOCAL_PATH,
    USER,
    Settings,
    WholeNumber,
    connection_options,
    credential_option,
    if_match_option,
    json_option,
    place,
    workspace,
)
from chatfiles.cli.terminal.progress_bar import format_size
from chatfiles.cli.terminal.tables import show_json
from chatfiles.cli.transfers.chat_upload import ChatUpload, count
from chatfiles.cli.transfers.file_put import FilePut, put_file
from chatfiles.cli.transfers.input_file import STDIN, Source
from chatfiles.cli.transfers.resumable_upload import ResumeOptions
from chatfiles.cli.transfers.retries import DEFAULT_RETRIES
from chatfiles.cli.transfers.upload_records import records_directory
from chatfiles.cli.transfers.upload_result import UploadResult
from chatfiles.cli.workspaces import find_workspace
from chatfiles.model import parse_uuid

__all__ = ["put"]


def _last_argument(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """:return: as `workspace`, which is the first argument of all other commands."""
    first = next(iter(ctx.params.get("files", ())), "")
    is_file = os.path.exists(value) and first != STDIN and not os.path.exists(first)
    if parse_uuid(value) is None and (parse_uuid(first) or is_file):
        raise click.UsageError("the workspace comes last: chatfiles put FILE... WORKSPACE", ctx)
    return workspace(ctx, param, value)


@click.command(epilog=EXIT_TABLE)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=LOCAL_PATH)
@click.argument("reference", callback=_last_argument, metavar="WORKSPACE[:/PATH]")
@click.option(
    "--name",
    metavar="NAME",
    help="What to call standard input there, or the only FILE.  "
    "[default: stdin; the last part of FILE]",
)
@json_option
@click.option(
    "--verify",
    is_flag=True,
    help="Fail if no SHA-256 comes back.  One that comes back is always compared.",
)
@click.option("--if-absent", is_flag=True, help="With a PATH: only if nothing is there.")
@if_match_option("With a PATH: only if the version there is this one")
@click.option("--parents", is_flag=True, help="With a PATH: create missing directories.")
@click.option("--mode", metavar="MODE", help="With a PATH: the permission bits, such as 644.")
@click.option(
    "--continue",
    "resume",
    is_flag=True,
    help="Send only what an interrupted command has not sent.  For files above 16 MiB.",
)
@click.option(
    "--retries",
    type=WholeNumber(min=0),
    metavar="N",
    help="For files above 16 MiB: try again up to N times in a row when the transfer is "
    f"interrupted.  [default: {DEFAULT_RETRIES}]",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress, no warnings, only errors.")
@credential_option(USER)
@connection_options()
@click.pass_obj
def put(
    settings: Settings,
    files: tuple[str, ...],
    reference: str,
    name: str | None,
    as_json: bool,
    verify: bool,
    if_absent: bool,
    if_match: str | None,
    parents: bool,
    mode: str | None,
    resume: bool,
    retries: int | None,
    quiet: bool,
    token_file: str | None,
) -> None:
    """
    Upload files to a workspace.

    FILE is a file or a pipe, or - for standard input; WORKSPACE is the workspace's id or its
    name.  All files up to 16 MiB are stored, or none.  Once the platform has confirmed the size and
    SHA-256 of every file, the command prints their paths, which `chatfiles get` takes.

    A larger file continues where its transfer was interrupted, if the platform can do that; its
    SHA-256 is computed first.  After the end of the command, even by Ctrl-C, the same command with
    --continue sends the rest.

    With a PATH, one FILE is written there, in a directory that the workspace has made writable.  A
    file that is there is replaced in one step.  A PATH that ends with a slash is the directory.

    \b
    Examples:
      export CHATFILES_PLATFORM=https://files.example.org
      ID=3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d
      chatfiles put --token-file ws.token report.pdf data.csv $ID
      tar -cz photos | chatfiles put --token-file ws.token - --name photos.tar.gz $ID
      chatfiles put --token-file ws.token --json report.pdf $ID | jq -r '.files[].sha256'
      chatfiles put --token-file ws.token report.pdf $ID:/workspace/out/ --if-absent
      chatfiles put --token-file ws.token --continue dataset.tar $ID
    """
    names = _names(files, name)
    terminal = sys.stderr.isatty() and not quiet
    asked = FilePut(if_absent, if_match, parents, mode)
    records = records_directory(settings.environ)
    options = ResumeOptions(records, resume, retries, shown=terminal, quiet=quiet)
    if ":/" in reference:
        if len(files) > 1:
            raise click.UsageError("with a PATH there is one FILE")
        client = settings.client(USER, token_file)
        with Source(files[0]) as source:
            where = _destination(reference, files[0], name)
            answer = put_file(client, *where, source, asked, options, describes=as_json)
        show_json(answer) if as_json else click.echo(printable(os.fsdecode(where[1]), None))
        return
    if asked != FilePut():
        raise click.UsageError("--if-absent, --if-match, --parents and --mode need a PATH")
    client = settings.client(USER, token_file)
    started = time.monotonic()
    with ExitStack() as stack:
        sources = [
            stack.enter_context(Source(file, given))
            for file, given in zip(files, names, strict=True)
        ]
        found = find_workspace(client, reference)
        stored = ChatUpload(client, found, sources, options, describes=as_json).run()
    if not stored.proven and verify:
        raise _not_verified(stored)
    if not stored.proven and not quiet:
        warn("no SHA-256 came back; only the sizes of the files were compared")
    if as_json:
        show_json(stored.answer)
    else:
        click.echo("\n".join(printable(path, None) for path in stored.paths))
    if terminal:
        size = format_size(sum(source.sent for source in sources))
        seconds = time.monotonic() - started
        click.echo(f"stored {count(sources)} ({size} in {seconds:.1f} s)", err=True)


def _destination(reference: str, file: str, name: str | None) -> tuple[str, bytes]:
    """
    :return: the workspace, and the path of the file in it.
    :raise UsageError: the file has two names, or none.
    """
    context = click.get_current_context()
    parameter = next(each for each in context.command.params if each.name == "reference")
    found, path = place(context, parameter, reference)
    if not reference.endswith("/"):
        if name is not None:
            raise click.UsageError("PATH has the name: leave --name out, or end PATH with a slash")
        return found, path
    if name is None and file == STDIN:
        raise click.UsageError("standard input has no name: give it with --name")
    return found, path + b"/" + os.fsencode(name or os.path.basename(file))


def _names(files: Sequence[str], name: str | None) -> list[str | None]:
    """
    :return: the new name of each file; ``None`` if it keeps its own name.
    :raise UsageError: *name* is empty or does not belong to one file, or standard input is given
        twice.
    """
    if files.count(STDIN) > 1:
        raise click.UsageError("standard input (-) can be sent only once")
    if name is None:
        return [None] * len(files)
    if not name:
        raise click.UsageError("--name must not be empty")
    if STDIN not in files and len(files) > 1:
        raise click.UsageError("--name is for standard input (-), or for a single FILE")
    return [name if file == STDIN or len(files) == 1 else None for file in files]


def _not_verified(stored: UploadResult) -> CliError:
    return CliError(
        "no SHA-256 came back; only the sizes of the files were compared",
        Exit.INCOMPLETE,
        hint=f"the files are stored as {', '.join(stored.paths)}",
    )
