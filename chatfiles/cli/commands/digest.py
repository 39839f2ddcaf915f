"""
``chatfiles digest``: prints the SHA-256 of files of a workspace.
"""

from __future__ import annotations

import os
import sys

import click

from chatfiles.cli.errors import CliError
from chatfiles.cli.exit_status import EXIT_TABLE, Exit
from chatfiles.cli.http.error_responses import concerns_one_file
from chatfiles.cli.listing.output import plain, write
from chatfiles.cli.options import (
    USER,
    Settings,
    connection_options,
    credential_option,
    workspace_argument,
)
from chatfiles.cli.terminal.progress_bar import ProgressBar
from chatfiles.cli.transfers.digests import ask_digest
from chatfiles.cli.workspaces import find_workspace

__all__ = ["digest"]


@click.command(epilog=EXIT_TABLE)
@workspace_argument
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-q", "--quiet", is_flag=True, help="No progress, only errors.")
@credential_option(USER)
@connection_options()
@click.pass_obj
def digest(
    settings: Settings,
    reference: str,
    paths: tuple[str, ...],
    quiet: bool,
    token_file: str | None,
) -> None:
    """
    Print the SHA-256 of files of a workspace.

    WORKSPACE is its id or its name; PATH is the absolute path of a file there.  Each line is a
    digest and a path, as sha256sum prints it.  The workspace computes the digest, and remembers it
    while the file does not change.  If it fails for a file, the command continues with the next
    one; its exit status is that of the first failure.

    \b
    Examples:
      export CHATFILES_PLATFORM=https://files.example.org
      ID=3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d
      chatfiles digest --token-file ws.token $ID /workspace/report.pdf /workspace/data.csv
      chatfiles digest --token-file ws.token $ID /workspace/a.bin | sed s:/workspace/:: >sums
      sha256sum -c sums
    """
    client = settings.client(USER, token_file)
    workspace = find_workspace(client, reference)
    terminal = sys.stderr.isatty() and not quiet
    failed: CliError | None = None
    for path in map(os.fsencode, paths):
        try:
            with ProgressBar(os.fsdecode(path), shown=terminal, quiet=quiet) as bar:
                sha256 = ask_digest(client, workspace, path, bar)
        except CliError as error:
            if error.code in ("not_a_regular_file", "path_is_not_a_regular_file"):
                error.hint = "only regular files have one; `chatfiles ls -R` lists the files below "
                error.hint += "a directory"
            if len(paths) == 1 or not _may_continue(error):
                raise
            error.about(os.fsdecode(path)).show()
            failed = failed or error
        else:
            _print(sha256, path)
    if failed is not None:
        sys.exit(failed.exit_code)


def _may_continue(error: CliError) -> bool:
    """:return: whether the platform responded, and may respond otherwise for another file."""
    unavailable = error.exit_code == Exit.UNAVAILABLE and error.code
    return bool(concerns_one_file(error) or unavailable or error.exit_code == Exit.INCOMPLETE)


def _print(sha256: str, path: bytes) -> None:
    """Write the line that sha256sum writes: a backslash before it says that others are escapes."""
    escaped = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    mark = b"\\" if escaped != path else b""
    write(plain(mark + sha256.encode() + b"  " + escaped, terminal=sys.stdout.isatty()))
    sys.stdout.flush()
