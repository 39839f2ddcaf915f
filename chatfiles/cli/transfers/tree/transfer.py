"""
Downloads a directory of a workspace, file by file, over several connections.
"""

from __future__ import annotations

import errno
import sys
import threading
import time
from contextlib import suppress
from queue import SimpleQueue

import click

from chatfiles.cli.errors import CliError, printable
from chatfiles.cli.exit_status import Exit
from chatfiles.cli.http.client import Client
from chatfiles.cli.http.error_responses import concerns_one_file
from chatfiles.cli.interruptible import next_item
from chatfiles.cli.listing.requests import look_at
from chatfiles.cli.terminal.progress_bar import ProgressBar, format_size
from chatfiles.cli.transfers.file import TransferOptions
from chatfiles.cli.transfers.output_file import Attributes, new_file_mode
from chatfiles.cli.transfers.tree.fetch import Fetch
from chatfiles.cli.transfers.tree.local_tree import LocalTree
from chatfiles.cli.transfers.tree.plan import Plan
from chatfiles.cli.transfers.tree.planning import Planning
from chatfiles.cli.transfers.tree.progress import Stop, Stopped, TreeProgress
from chatfiles.cli.transfers.tree.report import Report

__all__ = ["TreeTransfer"]

#: Seconds that the threads have to keep what has arrived, when the command is interrupted.
ENDING = 5
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class TreeTransfer:
    """
    The download of one directory.

    :param workspace: its id.
    :param path: the virtual path of the directory.
    :param target: the directory here into which its contents are saved.
    :param threads: how many files are fetched at once.
    """

    def __init__(
        self,
        client: Client,
        workspace: str,
        path: bytes,
        target: str,
        threads: int,
        options: TransferOptions,
    ) -> None:
        self._client = client
        self._workspace = workspace
        self._path = path
        self._target = target
        self._threads = threads
        self._options = options
        self._stop = Stop()

    def run(self) -> None:
        """
        Save the tree, and report it.

        :raise CliError: a file or directory was not saved.
        """
        quiet = self._options.quiet
        terminal = sys.stderr.isatty() and not quiet
        started = time.monotonic()
        with ProgressBar(self._target, shown=terminal, quiet=quiet) as bar:
            plan, report = self._list(bar)
            with plan:
                try:
                    fatal = self._save(plan, report, bar)
                except KeyboardInterrupt:
                    bar.close()
                    self._say_continue(plan, report)
                    raise
        report.show(quiet=quiet)
        if fatal is not None:
            self._say_continue(plan, report)
        if error := fatal or report.error(self._complete(plan, report)):
            raise error
        if terminal:
            text = self._success(plan, report, time.monotonic() - started)
            click.echo(printable(text, None), err=True)

    def _success(self, plan: Plan, report: Report, seconds: float) -> str:
        files, size = _files(plan.files), format_size(plan.size)
        if report.equal == plan.files > 0:
            return f"nothing to fetch: {self._target} is complete ({files}, {size})"
        text = f"saved {self._target} ({files}, {size} in {seconds:.1f} s"
        were = "was" if report.equal == 1 else "were"
        there = f"; {_files(report.equal)} {were} there already" if report.equal else ""
        return f"{text}{there})"

    def _complete(self, plan: Plan, report: Report) -> str:
        done = report.fetched + report.equal
        return f"{done} of {_files(plan.files)} are complete in {self._target}"

    def _list(self, bar: ProgressBar) -> tuple[Plan, Report]:
        planning = Planning(self._client, self._workspace, self._path, bar.say)
        try:
            return planning.run(self._options.retries)
        except CliError as error:
            if error.code == "not_a_directory" and self._is_file():
                error.hint = "leave -r out to get a file"
            raise

    def _is_file(self) -> bool:
        with suppress(CliError):
            return look_at(self._client, self._workspace, self._path).kind == "file"
        return False

    def _save(self, plan: Plan, report: Report, bar: ProgressBar) -> CliError | None:
        """:return: the error that ended the transfer of all files; ``None`` if none did."""
        mode = new_file_mode()
        with LocalTree(self._target) as tree:
            unmade = set()
            for item in plan.directories():
                try:
                    tree.make_directory(item.segments)
                except CliError as error:
                    report.failed(error)
                    unmade.add(item.path)
            progress = TreeProgress(bar, plan.size, plan.files, self._stop)
            fetch = Fetch(
                self._client, self._workspace, self._path, tree, progress, self._options, mode
            )
            self._client.pause = self._stop.pause
            fatal = self._fetch_all(plan, fetch, report)
            for item in plan.directories_from_below():
                if item.mode is not None and item.path not in unmade:
                    try:
                        tree.finish_directory(item.segments, Attributes(item.mode, item.mtime_ns))
                    except CliError as error:
                        report.failed(error)
        return fatal

    def _fetch_all(self, plan: Plan, fetch: Fetch, report: Report) -> CliError | None:
        results: SimpleQueue[bool | BaseException | None] = SimpleQueue()
        threads = [
            threading.Thread(target=_work, args=(plan, fetch, results), daemon=True)
            for _ in range(min(self._threads, plan.files))
        ]
        try:
            for thread in threads:
                thread.start()
            return self._collect(results, len(threads), report)
        except BaseException:
            self._end(threads)
            raise

    def _collect(
        self, results: SimpleQueue[bool | BaseException | None], running: int, report: Report
    ) -> CliError | None:
        """Count results until all threads have ended."""
        fatal: CliError | None = None
        while running:
            result = next_item(results)
            if result is None:
                running -= 1
            elif isinstance(result, bool):
                report.fetched += result
                report.equal += not result
            elif isinstance(result, Stopped) or (fatal and isinstance(result, CliError)):
                continue  # what the end of the command has caused
            elif isinstance(result, CliError) and _is_fatal(result):
                fatal = result
                self._break()
            elif isinstance(result, CliError):
                report.failed(result)
            else:
                raise result
        return fatal

    def _break(self) -> None:
        self._stop.set()
        self._client.abort()

    def _end(self, threads: list[threading.Thread]) -> None:
        """Give the threads some time to keep what has arrived."""
        self._break()
        deadline = time.monotonic() + ENDING
        for thread in threads:
            if thread.is_alive():
                thread.join(max(0, deadline - time.monotonic()))

    def _say_continue(self, plan: Plan, report: Report) -> None:
        if not self._options.quiet:
            text = f"{self._complete(plan, report)}; the same command continues there"
            click.echo(printable(text, None), err=True)


def _work(plan: Plan, fetch: Fetch, results: SimpleQueue[bool | BaseException | None]) -> None:
    """Fetch files until there are no more, one fails as all would, or the command ends."""
    try:
        while (item := plan.next_file()) is not None:
            try:
                results.put(fetch.fetch(item))
            except Stopped:
                return
            except CliError as error:
                results.put(error)
                if _is_fatal(error):
                    return
    except BaseException as error:  # a fault of the program: the main thread raises it
        results.put(error)
    finally:
        results.put(None)


def _is_fatal(error: CliError) -> bool:
    """:return: whether *error* would be that of the other files too."""
    cause = error.__cause__
    while isinstance(cause, CliError):
        cause = cause.__cause__
    if isinstance(cause, OSError) and cause.errno in _FULL:
        return True
    return not (concerns_one_file(error) or error.exit_code in (Exit.INCOMPLETE, Exit.LOCAL))


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
