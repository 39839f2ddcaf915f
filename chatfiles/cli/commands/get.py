"""
``chatfiles get``: a file of a workspace, saved here.
"""

from __future__ import annotations

import os
import sys
import time

import click
from tqdm import tqdm

from chatfiles.cli.errors import EXIT_TABLE, CliError, printable
from chatfiles.cli.http.client import Client
from chatfiles.cli.options import (
    USER,
    Settings,
    connection_options,
    credential_option,
    workspace_argument,
)
from chatfiles.cli.transfers.download import DEFAULT_RETRIES, Transfer, download_route
from chatfiles.cli.transfers.output_file import FileSink, PipeSink, choose_path, file_name

__all__ = ["get"]

#: Characters of a name that fit beside a progress bar.
LABEL_LENGTH = 30


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
    type=click.IntRange(min=0),
    metavar="N",
    help="Try again up to N times in a row when the transfer is cut, and if given also when the "
    "platform or workspace is unavailable from the start; goes on where it stopped if the file is "
    f"still the same.  [default: {DEFAULT_RETRIES}]",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress, only errors.")
@credential_option(USER)
@connection_options()
@click.pass_obj
def get(
    settings: Settings,
    workspace_id: str,
    path: str,
    output: str | None,
    force: bool,
    retries: int | None,
    quiet: bool,
    token_file: str | None,
) -> None:
    """
    Download a file of a workspace.

    WORKSPACE is its id, PATH the absolute path of the file there.  The file appears under its name
    only when all of it has come; until then it has a temporary name beside it, which is removed if
    the transfer fails.

    \b
    Examples:
      export CHATFILES_PLATFORM=https://files.example.org
      ID=3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d
      chatfiles get --token-file ws.token $ID /workspace/report.pdf
      chatfiles get --token-file ws.token $ID /workspace/report.pdf -o reports/
      chatfiles get --token-file ws.token $ID /workspace/log.txt -o - | less
    """
    client = settings.client(USER, token_file)
    route = download_route(workspace_id, os.fsencode(path))
    name = file_name(path)
    if output == "-":
        shown = not quiet and sys.stderr.isatty() and not sys.stdout.isatty()
        sink = PipeSink(sys.stdout.buffer)
        with Bar(name or path, shown=shown) as bar:
            Transfer(client, route, sink, bar, time.sleep).run(retries)
        return
    _save(client, route, choose_path(output, name), force, retries, quiet)


def _save(
    client: Client, route: str, target: str, force: bool, retries: int | None, quiet: bool
) -> None:
    terminal = sys.stderr.isatty() and not quiet
    with FileSink(target, force=force) as sink:
        started = time.monotonic()
        with Bar(os.path.basename(target), shown=terminal) as bar:
            transfer = Transfer(client, route, sink, bar, time.sleep)
            transfer.run(retries)
        sink.publish()
    if terminal:
        size = tqdm.format_sizeof(transfer.received, "B")
        seconds = time.monotonic() - started
        click.echo(f"saved {printable(target)} ({size} in {seconds:.1f} s)", err=True)


class _Tqdm(tqdm):  # type: ignore[type-arg]  # not subscriptable at run time
    """Ctrl-C may come before ``__init__`` has said so; ``__del__`` looks at it all the same."""

    disable = True


class Bar:
    """
    How far a transfer is, on standard error.

    :param label: what is transferred.
    :param shown: whether anybody looks.
    """

    def __init__(self, label: str, *, shown: bool) -> None:
        self._label = printable(label, LABEL_LENGTH)
        self._shown = shown
        self._bar: _Tqdm | None = None

    def begin(self, received: int, total: int | None) -> None:
        """See `transfer.Progress`."""
        self._close()
        if self._shown:
            self._bar = _Tqdm(
                desc=self._label,
                total=total,
                initial=received,
                unit="B",
                unit_scale=True,
                leave=False,
                file=sys.stderr,
                dynamic_ncols=True,
            )

    def advance(self, count: int) -> None:
        """See `transfer.Progress`."""
        if self._bar is not None:
            self._bar.update(count)

    def retrying(self, error: CliError, pause: int) -> None:
        """See `transfer.Progress`."""
        self._close()
        if self._shown:
            click.echo(f"{printable(error.message, None)}; trying again in {pause} s", err=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *raised: object) -> None:
        self._close()
