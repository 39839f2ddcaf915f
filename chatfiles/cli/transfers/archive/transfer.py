"""
Downloads files and directories as one archive, which the workspace packs while it sends it.

An archive has no length and cannot be resumed.  It is complete if its last chunk has arrived.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import click

from chatfiles.cli.errors import CliError, printable
from chatfiles.cli.exit_status import Exit
from chatfiles.cli.http.client import Client
from chatfiles.cli.terminal.progress_bar import ProgressBar, format_size
from chatfiles.cli.transfers.archive.manifest import Manifest, read_manifest
from chatfiles.cli.transfers.archive.streamed_manifest import passing_manifest
from chatfiles.cli.transfers.file import TransferOptions
from chatfiles.cli.transfers.local_place import Place
from chatfiles.cli.transfers.output_file import FileSink, PipeSink, Sink
from chatfiles.cli.transfers.output_name import file_name
from chatfiles.cli.transfers.retries import retried
from chatfiles.client.core.answers import header, refusal
from chatfiles.client.core.archives import archive_request
from chatfiles.client.core.steps import Emit, Receive, Response, Send, Steps
from chatfiles.client.core.versions import check_whole

__all__ = ["ArchiveTransfer", "archive_name"]

_OF_A_TAR = (
    "run the command again.  A tar is also interrupted by a large file that changes while it is "
    "packed: --archive zip leaves it out, and -r gets the other files"
)
T = TypeVar("T")
_NUMBER = re.compile(r"[0-9]{1,18}")


def archive_name(paths: Sequence[bytes], form: str) -> str | None:
    """
    :param paths: the virtual paths.
    :param form: ``zip``, ``tar`` or ``tar.gz``.
    :return: the name of the archive's file: that of the only path, or of the deepest directory that
        holds all; ``None`` if that is none.
    """
    try:
        top = os.path.commonpath(paths)
    except ValueError:  # absolute and relative paths: the server refuses them
        return None
    name = "files" if top == b"/" and len(paths) > 1 else file_name(os.fsdecode(top))
    return None if name is None else f"{name}.{form}"


class ArchiveTransfer:
    """
    The download of one archive.

    :param workspace: its id.
    :param paths: the virtual paths of what to pack, as bytes.
    :param form: ``zip``, ``tar`` or ``tar.gz``.
    """

    def __init__(
        self,
        client: Client,
        workspace: str,
        paths: Sequence[bytes],
        form: str,
        options: TransferOptions,
    ) -> None:
        self._client = client
        self._form = form
        self._options = options
        self._request = archive_request(client.context(workspace), paths, form)

    def to_standard_output(self) -> None:
        """
        Write the archive to standard output, and report what it lacks.

        :raise CliError: it could not be received or written completely, or it lacks files.
        """
        quiet = self._options.quiet
        shown = not quiet and sys.stderr.isatty() and not sys.stdout.isatty()
        sink = PipeSink(sys.stdout.buffer)
        with ProgressBar(self._form, shown=shown, quiet=quiet) as bar:
            manifest = self._run(sink, bar, partial(passing_manifest, form=self._form))
        self._report(manifest, "the archive")

    def to_file(self, target: str) -> None:
        """
        Save the archive when it is complete.

        :param target: the path of the new file.
        :raise CliError: it could not be received or saved, or it lacks files.
        """
        terminal = sys.stderr.isatty() and not self._options.quiet
        with FileSink(Place.of(target), force=self._options.force) as sink:
            started = time.monotonic()
            name = os.path.basename(target)
            with ProgressBar(name, shown=terminal, quiet=self._options.quiet) as bar:
                try:
                    size = self._run(sink, bar, _size)
                except KeyboardInterrupt:
                    bar.say("nothing was kept: an archive that is interrupted cannot be continued")
                    raise
            with sink.reopen() as file:
                manifest = read_manifest(file, self._form)
            sink.publish()
        if terminal:
            seconds = time.monotonic() - started
            click.echo(
                f"saved {printable(target)} ({format_size(size)} in {seconds:.1f} s)", err=True
            )
        self._report(manifest, target)

    def _report(self, manifest: Manifest, target: str) -> None:
        """:raise CliError: the archive lacks files that it should hold."""
        quiet = self._options.quiet
        for reference, reason in manifest.lacking if quiet else manifest.skipped:
            click.echo(f"skipped {printable(reference, None)} ({printable(reason)})", err=True)
        more = manifest.total - len(manifest.skipped)
        if more > 0 and not quiet:
            click.echo(f"skipped {more} more, which the manifest does not list", err=True)
        if error := manifest.error(target):
            raise error

    def _run(self, sink: Sink, bar: ProgressBar, take: Callable[[Iterator[bytes]], T]) -> T:
        """
        :param take: takes all pieces of the archive, each of which has been written.
        :return: what it has returned.
        """

        def attempt() -> T:
            sink.restart()
            return take(self._client.iterate(self._attempt(sink, bar)))

        try:
            return retried(attempt, self._options.retries or 0, bar.say, self._client.pause)
        except CliError as error:
            is_cut = error.transient and error.exit_code == Exit.INCOMPLETE
            if is_cut and self._form != "zip":
                error.hint = _OF_A_TAR
            raise

    def _attempt(self, sink: Sink, bar: ProgressBar) -> Steps[None]:
        with (yield Send(self._request)) as response:
            if response.status != 200:
                raise (yield from refusal(response, self._client.now()))
            check_whole(response)
            bar.begin(0, _estimate(response))
            while piece := (yield Receive(response)):
                sink.write(piece)
                bar.advance(len(piece))
                yield Emit(piece)


def _size(pieces: Iterator[bytes]) -> int:
    return sum(map(len, pieces))


def _estimate(response: Response) -> int | None:
    """:return: the bytes of the files, as the workspace has counted them before."""
    size = header(response, "Chatfiles-Archive-Bytes")
    return int(size) if _NUMBER.fullmatch(size) else None
