"""
Tests for `chatfiles.cli.transfers.tree.progress`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.cli.errors import CliError
from chatfiles.cli.exit_status import Exit
from chatfiles.cli.terminal.progress_bar import ProgressBar
from chatfiles.cli.transfers.tree.progress import FileProgress, Stop, Stopped, TreeProgress

CUT = CliError("the transfer was interrupted", Exit.INCOMPLETE, transient=True)
GONE = CliError("cannot reach the platform", Exit.UNAVAILABLE, transient=True)


class RetryTests(SynchronousTestCase):
    """The lines about retries of several threads."""

    def setUp(self) -> None:
        self.lines: list[str] = []
        bar = ProgressBar("out", shown=False)
        self.patch(bar, "say", self.lines.append)
        self.stop = Stop()
        tree = TreeProgress(bar, 30, 3, self.stop)
        self.files = [FileProgress(tree, name, 10) for name in "abc"]

    def test_outage(self) -> None:
        """An outage is reported once, not by each thread, until a file is sent again."""
        for pause in (1, 2, 4):
            for file in self.files:
                file.retrying(CUT if pause == 1 else GONE, pause)
        interrupted = "a: the transfer was interrupted; trying again in 1 s"
        unreachable = "cannot reach the platform; trying again in 2 s"
        self.assertEqual(self.lines, [interrupted, unreachable])
        self.files[2].begin(0, 10)
        self.files[1].retrying(GONE, 8)
        self.assertEqual(self.lines[2:], ["cannot reach the platform; trying again in 8 s"])

    def test_stopped(self) -> None:
        """No retry is announced when the command is ending."""
        self.stop.set()
        self.assertRaises(Stopped, self.files[0].retrying, CUT, 1)
        self.assertEqual(self.lines, [])
