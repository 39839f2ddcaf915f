"""
``chatfiles get``: downloads a file of a workspace.
"""

from __future__ import annotations

import os
import sys
import time

import click

from chatfiles.cli.errors import EXIT_TABLE, CliError, Exit, printable
from chatfiles.cli.http.client import Client
from chatfiles.cli.options import (
    USER,
    Settings,
    WholeNumber,
    connection_options,
    credential_option,
    workspace_argument,
)
from chatfiles.cli.terminal.progress_bar import ProgressBar, format_size
from chatfiles.cli.transfers.download import DEFAULT_RETRIES, Download, download_route
from chatfiles.cli.transfers.output_file import (
    FileSink,
    PipeSink,
    choose_path,
    file_name,
    no_file_name,
)
from chatfiles.cli.transfers.partial_file import PartialFile
from chatfiles.cli.transfers.partial_record import PartialRecord
from chatfiles.cli.workspaces import find_workspace

__all__ = ["get"]


@click.command(epilog=EXIT_TABLE)
@workspace_argument
@click.argument("path", metavar="PATH")
@click.option(
    "-o",
    "--output",
    metavar="FILE|DIR|-",
    help="Where to save; - is standard output.  [default: the last part of PATH, here]",
)
@click.option("-f", "--force", is_flag=True, help="Replace a file that exists.")
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
@click.option("-q", "--quiet", is_flag=True, help="No progress, only errors.")
@credential_option(USER)
@connection_options()
@click.pass_obj
def get(
    settings: Settings,
    reference: str,
    path: str,
    output: str | None,
    force: bool,
    retries: int | None,
    resume: bool,
    quiet: bool,
    token_file: str | None,
) -> None:
    """
    Download a file of a workspace.

    WORKSPACE is its id, or its name if no other workspace has it; PATH is the absolute path of the
    file there.  The file appears under its name only when it is complete.  If the transfer is
    interrupted, also by Ctrl-C, what has arrived is kept as NAME.part beside it, and the same
    command continues there if the file has not changed.

    \b
    Examples:
      export CHATFILES_PLATFORM=https://files.example.org
      ID=3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d
      chatfiles get --token-file ws.token $ID /workspace/report.pdf
      chatfiles get --token-file ws.token $ID /workspace/report.pdf -o reports/
      chatfiles get --token-file ws.token build-7 /workspace/log.txt -o - | less
    """
    client = settings.client(USER, token_file)
    name = file_name(path)
    if name is None and output:
        raise no_file_name()  # the platform would only say that the path is invalid
    target = None if output == "-" else choose_path(output, name)
    route = download_route(find_workspace(client, reference), os.fsencode(path))
    if target is None:
        shown = not quiet and sys.stderr.isatty() and not sys.stdout.isatty()
        sink = PipeSink(sys.stdout.buffer)
        with ProgressBar(name or path, shown=shown, quiet=quiet) as bar:
            Download(client, route, sink, bar, time.sleep).run(retries)
        return
    _save(client, route, target, retries, force=force, resume=resume, quiet=quiet)


def _save(
    client: Client,
    route: str,
    target: str,
    retries: int | None,
    *,
    force: bool,
    resume: bool,
    quiet: bool,
) -> None:
    terminal = sys.stderr.isatty() and not quiet
    part = PartialFile(os.fsencode(target), client.platform + route, client.seal)
    with FileSink(target, force=force, part=part, resume=resume) as sink:
        started = time.monotonic()
        if sink.resumed is not None and not quiet:
            _say_resumed(sink.resumed, part)
        with ProgressBar(os.path.basename(target), shown=terminal, quiet=quiet) as bar:
            download = Download(client, route, sink, bar, time.sleep, sink.resumed)
            try:
                download.run(retries)
            except (CliError, KeyboardInterrupt) as error:
                bar.close()
                _keep(sink, download, error, quiet=quiet)
                raise
        sink.publish()
    if terminal:
        size = format_size(download.received)
        seconds = time.monotonic() - started
        click.echo(f"saved {printable(target)} ({size} in {seconds:.1f} s)", err=True)


def _say_resumed(record: PartialRecord, part: PartialFile) -> None:
    name = printable(os.fsdecode(part.path))
    click.echo(
        f"{name} has {record.size} of {record.total} bytes; "
        "continuing there, unless the file has changed",
        err=True,
    )


def _keep(sink: FileSink, download: Download, error: BaseException, *, quiet: bool) -> None:
    """Keep what has arrived, unless *error* puts these bytes in doubt."""
    if isinstance(error, CliError) and sink.changed:
        in_doubt = error.exit_code in (Exit.INCOMPLETE, Exit.LOCAL)
        if in_doubt and not error.transient:
            return
    version = download.version
    path = sink.keep(version)
    if path is not None and version is not None and not quiet:
        click.echo(
            f"{download.received} of {version.total} bytes are kept in {printable(path)}; "
            "the same command continues there",
            err=True,
        )
