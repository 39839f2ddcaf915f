"""
Lists a tree of a workspace, and plans which of its files are fetched.
"""

from __future__ import annotations

from collections.abc import Callable

from chatfiles.cli.errors import CliError, Exit, local_error
from chatfiles.cli.http.client import Client
from chatfiles.cli.listing.entry import Entry, visible
from chatfiles.cli.listing.requests import EntryStream
from chatfiles.cli.transfers.download import DEFAULT_RETRIES, LONGEST_PAUSE
from chatfiles.cli.transfers.tree.plan import Plan
from chatfiles.cli.transfers.tree.report import Report

__all__ = ["Planning"]


class Planning:
    """
    Lists a tree.

    :param workspace: its id.
    :param path: the virtual path of the directory.
    :param say: is called with what the user should know.
    :param pause: sleeps for a number of seconds between two attempts.
    """

    def __init__(
        self,
        client: Client,
        workspace: str,
        path: bytes,
        say: Callable[[str], object],
        pause: Callable[[float], object],
    ) -> None:
        self._client = client
        self._workspace = workspace
        self._path = path
        self._say = say
        self._pause = pause

    def run(self, retries: int | None) -> tuple[Plan, Report]:
        """
        :param retries: how often a listing that is interrupted is started again; if it is ``None``,
            a listing that has not begun is not started again.
        :return: the plan, to be closed after use, and a report of what is not in it.
        :raise CliError: the tree could not be listed.
        """
        most = DEFAULT_RETRIES if retries is None else retries
        for failures in range(most + 1):
            try:
                return self._attempt()
            except CliError as error:
                may_retry = retries is not None or error.exit_code == Exit.INCOMPLETE
                if not (error.transient and may_retry and failures < most):
                    raise
                pause = min(error.retry_after or 2**failures, LONGEST_PAUSE)
                self._say(f"{error.message}; trying again in {pause} s")
                self._pause(pause)
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self) -> tuple[Plan, Report]:
        plan, report = Plan(), Report()
        try:
            stream = EntryStream(self._client, self._workspace, self._path, report.failed)
            for entry in stream:
                self._plan(entry, plan, report)
        except OSError as error:
            plan.close()
            raise local_error("cannot write a temporary file", error) from error
        except BaseException:
            plan.close()
            raise
        if stream.incomplete:
            report.failed(_not_all(stream.incomplete))
        return plan, report

    def _plan(self, entry: Entry, plan: Plan, report: Report) -> None:
        try:
            path = entry.below(self._path)
        except CliError as error:
            report.failed(error)
            return
        if entry.error is not None:
            report.failed(CliError(entry.error, Exit.CREDENTIALS).about(visible(path)))
        elif entry.kind in ("file", "directory"):
            plan.add(entry, path)
        else:
            report.skipped(visible(path), entry.kind)


def _not_all(reason: str) -> CliError:
    return CliError(
        f"the listing is not complete: {reason.replace('_', ' ')}",
        Exit.REFUSED,
        hint="get the directories below it one by one; "
        "--max-list-entries of the workspace sets the limit of entries",
    )
