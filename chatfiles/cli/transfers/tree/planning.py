"""
Lists a tree of a workspace, and plans which of its files are fetched.

The listing is one stream.  If the workspace limits it, the tree is listed directory by directory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from chatfiles.cli.errors import CliError, local_error, untrusted
from chatfiles.cli.exit_status import Exit
from chatfiles.cli.http.client import Client
from chatfiles.cli.http.error_responses import concerns_one_file
from chatfiles.cli.listing.entry import Entry, visible
from chatfiles.cli.listing.requests import EntryStream, list_directory
from chatfiles.cli.transfers.retries import DEFAULT_RETRIES, retried
from chatfiles.cli.transfers.tree.plan import Plan
from chatfiles.cli.transfers.tree.report import Report
from chatfiles.rules.listing_query import MAX_DEPTH

__all__ = ["Planning"]

_TOO_MANY = "too_many_entries"
_DEEP = f"not listed: more than {MAX_DEPTH} levels deep"
_T = TypeVar("_T")
_Retry = Callable[[Callable[[], Any]], Any]


class Planning:
    """
    Lists a tree.

    :param workspace: its id.
    :param path: the virtual path of the directory.
    :param say: is called with what the user should know.
    """

    def __init__(
        self,
        client: Client,
        workspace: str,
        path: bytes,
        say: Callable[[str], object],
    ) -> None:
        self._client = client
        self._workspace = workspace
        self._path = path
        self._say = say

    def run(self, retries: int | None) -> tuple[Plan, Report]:
        """
        :param retries: how often a listing that is interrupted is started again; if it is ``None``,
            a listing that has not begun is not started again.
        :return: the plan, to be closed after use, and a report of what is not in it.
        :raise CliError: the tree could not be listed.
        """
        most = DEFAULT_RETRIES if retries is None else retries
        retry = self._retry(most, begun=retries is not None)
        plan, report, missing = retry(lambda: self._fill(self._stream))
        if missing == _TOO_MANY:
            plan.close()
            self._say("the workspace does not list so many at once; listing directory by directory")
            again = self._retry(most, begun=True)
            plan, report, missing = self._fill(partial(self._pages, again))
        if missing:
            report.incomplete(missing)
        return plan, report

    def _retry(self, most: int, *, begun: bool) -> Callable[[Callable[[], _T]], _T]:
        """
        :param most: how many retries in a row there are.
        :param begun: whether to retry also if the platform or the workspace is unavailable.
        :return: a function that calls another one until it raises no transient error.
        """

        def may_retry(error: CliError) -> bool:
            return begun or error.exit_code == Exit.INCOMPLETE

        return lambda function: retried(function, most, self._say, self._client.pause, may_retry)

    def _fill(self, fill: Callable[[Plan, Report], str]) -> tuple[Plan, Report, str]:
        """:return: a plan and a report, and what *fill* has returned for them."""
        plan, report = Plan(), Report()
        try:
            return plan, report, fill(plan, report)
        except OSError as error:
            plan.close()
            raise local_error("cannot write a temporary file", error) from error
        except BaseException:
            plan.close()
            raise

    def _stream(self, plan: Plan, report: Report) -> str:
        """:return: why the workspace has left out entries; empty if it has not."""
        stream = EntryStream(self._client, self._workspace, self._path, report.failed)
        for entry in stream:
            try:
                _add(entry, entry.below(self._path), plan, report)
            except CliError as error:
                report.failed(error)
        return stream.incomplete

    def _pages(self, retry: _Retry, plan: Plan, report: Report) -> str:
        """List the tree page by page; there is no limit of entries.  Returns as `_stream`."""
        self._directory(retry, b"", plan, report)
        for directory in plan.directories():
            try:
                if len(directory.segments) >= MAX_DEPTH:  # a loop of mounts ends there
                    raise CliError(_DEEP, Exit.REFUSED)
                self._directory(retry, directory.path + b"/", plan, report)
            except CliError as error:
                if not (concerns_one_file(error) or error.message == _DEEP):
                    raise
                report.failed(error.about(visible(directory.path)))
        return ""

    def _directory(self, retry: _Retry, prefix: bytes, plan: Plan, report: Report) -> None:
        """
        Plan what is in one directory.

        :param prefix: its path below the tree with a slash at the end; empty for the tree itself.
        """
        path = (self._path + b"/" + prefix)[:-1]
        for entry in list_directory(self._client, self._workspace, path, report.failed, retry):
            if entry.path == path + b"/" + entry.name:
                _add(entry, prefix + entry.name, plan, report)
            else:
                report.failed(untrusted(f"{visible(entry.path)} is not in {visible(path)}"))


def _add(entry: Entry, path: bytes, plan: Plan, report: Report) -> None:
    """Plan or report an entry that is at *path* below the tree."""
    if entry.error is not None:
        report.failed(CliError(entry.error, Exit.CREDENTIALS).about(visible(path)))
    elif entry.kind in ("file", "directory"):
        plan.add(entry, path)
    else:
        report.skipped(visible(path), "symlink" if entry.kind == "symlink" else "special")
