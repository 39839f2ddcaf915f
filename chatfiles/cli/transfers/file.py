"""
Downloads one file to standard output or to a file, and reports it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import click

from chatfiles.cli.errors import CliError, printable
from chatfiles.cli.exit_status import Exit
from chatfiles.cli.http.client import Client
from chatfiles.cli.terminal.progress_bar import ProgressBar, format_size
from chatfiles.cli.transfers.digests import DigestProgress, ask_digest
from chatfiles.cli.transfers.download import Download, Progress, download_route
from chatfiles.cli.transfers.local_place import Place
from chatfiles.cli.transfers.output_file import Attributes, FileSink, PipeSink, Sink
from chatfiles.cli.transfers.partial_file import PartialFile
from chatfiles.cli.transfers.partial_record import PartialRecord
from chatfiles.client.core.digests import check_sha256

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
        self,
        client: Client,
        workspace: str,
        path: bytes,
        label: str,
        options: TransferOptions,
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
            self._run(self._download(sink, bar, None), sink, bar)

    def to_file(self, target: str) -> None:
        """
        Save the file when it is complete, and report it.

        :param target: the path of the new file.
        :raise CliError: it could not be received, verified or saved.
        """
        quiet = self._options.quiet
        terminal = sys.stderr.isatty() and not quiet
        started = time.monotonic()
        with ProgressBar(os.path.basename(target), shown=terminal, quiet=quiet) as bar:
            received = self.save(Place.of(target), bar, bar, bar.say)
        if terminal:
            size = format_size(received)
            seconds = time.monotonic() - started
            click.echo(f"saved {printable(target)} ({size} in {seconds:.1f} s)", err=True)

    def save(
        self,
        place: Place,
        progress: Progress,
        checking: DigestProgress,
        say: Callable[[str], object],
        describe: Callable[[Download], Attributes] | None = None,
    ) -> int:
        """
        Save the file when it is complete.  An interrupted download is kept beside it.

        :param place: of the new file.
        :param progress: of the transfer.
        :param checking: of the computation of the workspace's digest.
        :param say: is called with what the user should know.
        :param describe: returns the attributes of the new file; see `FileSink.publish`.
        :return: the bytes of the file.
        :raise CliError: it could not be received, verified or saved.
        """
        part = PartialFile(place, self._client.platform + self._route, self._client.seal)
        options = self._options
        with FileSink(place, force=options.force, part=part, resume=options.resume) as sink:
            if sink.resumed is not None:
                say(_resumed(sink.resumed, part))
            download = self._download(sink, progress, sink.resumed)
            try:
                self._run(download, sink, checking)
            except (CliError, KeyboardInterrupt) as error:
                kept = _keep(sink, download, error)
                if kept is not None:
                    say(kept)
                raise
            sink.publish(describe and describe(download))
        return download.received

    def _download(self, sink: Sink, progress: Progress, resumed: PartialRecord | None) -> Download:
        verify = self._options.verify
        return Download(self._client, self._route, sink, progress, resumed, digest=verify)

    def _run(self, download: Download, sink: Sink, checking: DigestProgress) -> None:
        download.run(self._options.retries)
        if self._options.verify:
            expected = download.sha256 or ask_digest(
                self._client, self._workspace, self._path, checking, download.strong_etag
            )
            with self._client.translated():
                check_sha256(expected, sink.sha256())


def _resumed(record: PartialRecord, part: PartialFile) -> str:
    return (
        f"{part.place.label} has {record.size} of {record.total} bytes; "
        "continuing there, unless the file has changed"
    )


def _keep(sink: FileSink, download: Download, error: BaseException) -> str | None:
    """
    Keep what has arrived, unless *error* puts these bytes in doubt.

    :return: what the user should know; ``None`` if nothing is kept.
    """
    if isinstance(error, CliError) and sink.changed:
        in_doubt = error.exit_code in (Exit.INCOMPLETE, Exit.LOCAL)
        if in_doubt and not error.transient:
            return None
    version = download.version
    path = sink.keep(version)
    if path is None or version is None:
        return None
    return (
        f"{sink.size} of {version.total} bytes are kept in {path}; the same command continues there"
    )
