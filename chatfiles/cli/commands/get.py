"""
``chatfiles get``: downloads files of a workspace.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

import click

from chatfiles.cli.errors import printable
from chatfiles.cli.exit_status import EXIT_TABLE
from chatfiles.cli.http.client import Client
from chatfiles.cli.options import (
    LOCAL_PATH,
    USER,
    Settings,
    WholeNumber,
    connection_options,
    credential_option,
    workspace_argument,
)
from chatfiles.cli.transfers.file import FileTransfer, TransferOptions
from chatfiles.cli.transfers.output_name import (
    check_absolute,
    choose_path,
    file_name,
    no_file_name,
)
from chatfiles.cli.transfers.retries import DEFAULT_RETRIES, retried
from chatfiles.cli.workspaces import find_workspace

__all__ = ["get"]

#: The forms of an archive.
FORMATS = ("zip", "tar", "tar.gz")
#: How many files of a directory are fetched at once, unless the user sets another number.
JOBS, MOST_JOBS = 4, 64


@click.command(epilog=EXIT_TABLE)
@workspace_argument
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "-o",
    "--output",
    metavar="FILE|DIR|-",
    type=LOCAL_PATH,
    help="Where to save; - is standard output.  [default: the last part of PATH, here]",
)
@click.option(
    "-r",
    "--recursive",
    is_flag=True,
    help="Get everything below the directory PATH, into the directory of -o.",
)
@click.option(
    "-j",
    "--jobs",
    type=WholeNumber(1, MOST_JOBS),
    default=JOBS,
    metavar="N",
    help=f"With -r: how many files to get at once.  [default: {JOBS}]",
)
@click.option(
    "--archive",
    type=click.Choice(FORMATS),
    help="Get files and directories as one archive, which the workspace packs.",
)
@click.option("-f", "--force", is_flag=True, help="Replace files that exist.")
@click.option(
    "--retries",
    type=WholeNumber(min=0),
    metavar="N",
    help="Try again up to N times in a row when the transfer is interrupted; if given, also when "
    "the platform or workspace is unavailable at the start.  Continues where it stopped if the "
    f"file is still the same.  [default: {DEFAULT_RETRIES}]",
)
@click.option(
    "--resume/--no-resume",
    default=True,
    help="Continue an interrupted download of the same version, or start from the start.  "
    "[default: continue]",
)
@click.option(
    "--verify", is_flag=True, help="Compare the SHA-256 of files with that of the workspace."
)
@click.option("-q", "--quiet", is_flag=True, help="No progress, only errors.")
@credential_option(USER)
@connection_options()
@click.pass_obj
def get(
    settings: Settings,
    reference: str,
    paths: tuple[str, ...],
    output: str | None,
    recursive: bool,
    jobs: int,
    archive: str | None,
    force: bool,
    retries: int | None,
    resume: bool,
    verify: bool,
    quiet: bool,
    token_file: str | None,
) -> None:
    """
    Download files of a workspace.

    WORKSPACE is its id, or its name if no other workspace has it; PATH is the absolute path of the
    file there.  The file appears under its name only when it is complete.  If the transfer is
    interrupted, also by Ctrl-C, what has arrived is kept as NAME.part beside it, and the same
    command continues there if the file has not changed.

    With -r, PATH is a directory.  Its files are saved with their permissions and times; those that
    are equal already are skipped, so the same command continues after an interruption.  With
    --archive, files and directories are saved as one archive, which cannot be continued.  Symlinks
    and special files are skipped, and listed.

    \b
    Examples:
      export CHATFILES_PLATFORM=https://files.example.org
      ID=3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d
      chatfiles get --token-file ws.token $ID /workspace/report.pdf
      chatfiles get --token-file ws.token $ID /workspace/report.pdf -o reports/
      chatfiles get --token-file ws.token build-7 /workspace/log.txt -o - | less
      chatfiles get --token-file ws.token --verify $ID /workspace/large.bin
      chatfiles get --token-file ws.token -r $ID /workspace/src -o src
      chatfiles get --token-file ws.token --archive zip $ID /workspace/src /workspace/docs
    """
    options = TransferOptions(force, retries, resume, verify, quiet)
    for path in paths:
        check_absolute(path)
    client = settings.client(USER, token_file)
    if archive is not None and recursive:
        raise click.UsageError("-r and --archive exclude each other")
    if archive is not None:
        _get_archive(client, reference, paths, output, archive, options)
    elif len(paths) > 1:
        raise click.UsageError("several PATHs need --archive")
    elif recursive:
        _get_tree(client, reference, paths[0], output, jobs, options)
    else:
        _get_file(client, reference, paths[0], output, options)


def _find(client: Client, reference: str, options: TransferOptions) -> str:
    """
    :return: the id of the workspace; as the transfer itself, the look-up of a name is retried if
        ``--retries`` is given.
    """

    def say(text: str) -> None:
        if not options.quiet:
            click.echo(printable(text, None), err=True)

    find = partial(find_workspace, client, reference)
    return retried(find, options.retries or 0, say, client.pause)


def _get_file(
    client: Client, reference: str, path: str, output: str | None, options: TransferOptions
) -> None:
    name = file_name(path)
    if name is None and output:
        raise no_file_name()  # the platform would only say that the path is invalid
    target = None if output == "-" else choose_path(output, name)
    workspace = _find(client, reference, options)
    transfer = FileTransfer(client, workspace, os.fsencode(path), name or path, options)
    if target is None:
        transfer.to_standard_output()
    else:
        transfer.to_file(target)


def _get_tree(
    client: Client,
    reference: str,
    path: str,
    output: str | None,
    jobs: int,
    options: TransferOptions,
) -> None:
    from chatfiles.cli.transfers.tree.transfer import TreeTransfer  # noqa: PLC0415 - as below

    if output in ("", "-"):
        raise click.UsageError("with -r, -o names a directory")
    path = path.rstrip("/") or path
    target = output or file_name(path)
    if target is None:
        raise no_file_name()
    workspace = _find(client, reference, options)
    TreeTransfer(client, workspace, os.fsencode(path), target, jobs, options).run()


def _get_archive(
    client: Client,
    reference: str,
    paths: Sequence[str],
    output: str | None,
    form: str,
    options: TransferOptions,
) -> None:
    # A download of one file needs none of these, and should begin soon.
    from chatfiles.cli.transfers.archive.transfer import (  # noqa: PLC0415
        ArchiveTransfer,
        archive_name,
    )

    if options.verify:
        raise click.UsageError("--verify is not for --archive: no digest covers an archive")
    wanted = [os.fsencode(path.rstrip("/") or path) for path in paths]
    target = None if output == "-" else choose_path(output, archive_name(wanted, form))
    workspace = _find(client, reference, options)
    transfer = ArchiveTransfer(client, workspace, wanted, form, options)
    if target is None:
        transfer.to_standard_output()
    else:
        transfer.to_file(target)
