"""
Downloads one file to standard output or to a file, and reports it.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass

import click

from chatfiles.cli.errors import CliError, Exit, printable
from chatfiles.cli.http.client import Client
from chatfiles.cli.terminal.progress_bar import ProgressBar, format_size
from chatfiles.cli.transfers.digests import DigestProgress, DigestQuery, check_digest
from chatfiles.cli.transfers.download import Download, download_route
from chatfiles.cli.transfers.output_file import FileSink, PipeSink, Sink
from chatfiles.cli.transfers.partial_file import PartialFile
from chatfiles.cli.transfers.partial_record import PartialRecord
from chatfiles.cli.transfers.place import Place

__all__ = ["FileTransfer", "TransferOptions"]


@dataclass(frozen=True)
class TransferOptions:
    """
    What the user wants of a download.

    :param force: whether existing files are replaced.
    :param retries: see `Download.run`.
    :param resume: whether an interrupted download is continued.
    :param verify: whether the workspace's digest is compared.
    :param quiet: whether only errors are printed.
    """

    force: bool = False
    retries: int | None = None
    resume: bool = True
    verify: bool = False
    quiet: bool = False


class FileTransfer:
    """
    The download of one file.

    :param workspace: its id.
    :param path: the virtual path, as bytes.
    :param label: the file's name in messages.
    """

    def __init__(
        self, client: Client, workspace: str, path: bytes, label: str, options: TransferOptions
    ) -> None:
        self._client = client
        self._workspace = workspace
        self._path = path
        self._label = label
        self._options = options
        self._route = download_route(workspace, path)

    def to_standard_output(self) -> None:
        """
        Write the content to standard output.

        :raise CliError: it could not be received or written completely, or not be verified.
        """
        quiet = self._options.quiet
        shown = not quiet and sys.stderr.isatty() and not sys.stdout.isatty()
        sink = PipeSink(sys.stdout.buffer)
        with ProgressBar(self._label, shown=shown, quiet=quiet) as bar:
            self._run(self._download(sink, bar), sink, bar)

    def to_file(self, target: str) -> None:
        """
        Save the file when it is complete.  An interrupted download is kept beside it.

        :param target: the path of the new file.
        :raise CliError: it could not be received, verified or saved.
        """
        options = self._options
        terminal = sys.stderr.isatty() and not options.quiet
        place = Place.of(target)
        part = PartialFile(place, self._client.platform + self._route, self._client.seal)
        with FileSink(place, force=options.force, part=part, resume=options.resume) as sink:
            started = time.monotonic()
            if sink.resumed is not None and not options.quiet:
                _say_resumed(sink.resumed, part)
            with ProgressBar(os.path.basename(target), shown=terminal, quiet=options.quiet) as bar:
                download = self._download(sink, bar, sink.resumed)
                try:
                    self._run(download, sink, bar)
                except (CliError, KeyboardInterrupt) as error:
                    bar.close()
                    _keep(sink, download, error, quiet=options.quiet)
                    raise
            sink.publish()
        if terminal:
            size = format_size(download.received)
            seconds = time.monotonic() - started
            click.echo(f"saved {printable(target)} ({size} in {seconds:.1f} s)", err=True)

    def _download(
        self, sink: Sink, bar: ProgressBar, resumed: PartialRecord | None = None
    ) -> Download:
        verify = self._options.verify
        return Download(self._client, self._route, sink, bar, time.sleep, resumed, digest=verify)

    def _run(self, download: Download, sink: Sink, bar: DigestProgress) -> None:
        download.run(self._options.retries)
        if self._options.verify:
            query = DigestQuery(self._client, self._workspace, bar, time.sleep)
            expected = download.sha256 or query.ask(self._path, download.strong_etag)
            check_digest(sink.sha256(), expected)


def _say_resumed(record: PartialRecord, part: PartialFile) -> None:
    name = printable(part.place.label)
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
