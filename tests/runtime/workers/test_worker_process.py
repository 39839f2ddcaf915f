"""
A worker, as the first process sees it: its log, its reports, and when it is replaced.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.workers.descriptors import REPORTS
from chatfiles.runtime.workers.worker_process import RestartDelay, WorkerProcess, how_it_ended


class RestartDelayTests(SynchronousTestCase):
    """reference/options, "Several processes"."""

    def test_doubles(self) -> None:
        """The delay is doubled for a worker that ends soon, up to 30 s."""
        delay = RestartDelay()
        found = [delay.next(ran) for ran in (5, 0, 0, 29.9, 0, 0, 0)]
        self.assertEqual(found, [1, 2, 4, 8, 16, 30, 30])

    def test_begins_again(self) -> None:
        """A worker that has run for 30 s is replaced after one second again."""
        delay = RestartDelay()
        found = [delay.next(ran) for ran in (0, 0, 0, 30, 0)]
        self.assertEqual(found, [1, 2, 4, 1, 2])

    def test_many(self) -> None:
        """A worker that ends at each start for days stays at 30 s."""
        self.assertEqual(RestartDelay(10**6).next(0), 30)


class WorkerProcessTests(SynchronousTestCase):
    """What comes through the pipes of a worker."""

    def setUp(self) -> None:
        self.story: list[Any] = []
        self.worker = WorkerProcess(
            1,
            self.story.append,
            lambda: self.story.append((self.worker.missing, self.worker.listens)),
            lambda worker, reason: self.story.append(reason.exitCode),
        )

    def test_lines(self) -> None:
        """Lines are passed on when they are complete; standard error is apart."""
        for fd, data in ((1, b"a\nb"), (2, b"error\n"), (1, b"c"), (1, b"\nd\n\xff\n")):
            self.worker.childDataReceived(fd, data)
        self.assertEqual(self.story, ["a\n", "error\n", "bc\nd\n\\xff\n"])

    def test_last_line(self) -> None:
        """At the end, a line without an end is passed on, before the end itself."""
        self.worker.childDataReceived(1, b"a\nlast")
        self.worker.processEnded(Failure(ProcessDone(0)))
        self.assertEqual(self.story, ["a\n", "last\n", 0])

    def test_reports(self) -> None:
        """Reports may come in pieces."""
        self.worker.childDataReceived(REPORTS, b"/ready is still")
        self.assertEqual(self.story, [])
        self.worker.childDataReceived(REPORTS, b" 503: \nstopped listening\n")
        missing = "/ready is still 503: "
        self.assertEqual(self.story, [(missing, True), (missing, False)])

    def test_ready(self) -> None:
        """A report without a reason means that ``/ready`` is 200."""
        self.worker.childDataReceived(REPORTS, b"\n")
        self.assertEqual(self.story, [("", True)])

    def test_registration(self) -> None:
        """A worker may ask for another registration, which says nothing about itself."""
        self.worker.register = lambda: self.story.append("register")
        self.worker.childDataReceived(REPORTS, b"register again\n\n")
        self.assertEqual(self.story[0], "register")
        self.assertEqual(self.story[-1], ("", True))

    def test_signal(self) -> None:
        """A worker that starts receives a signal when it is ready; it may have opened files."""
        sent: list[int] = []
        self.patch(self.worker, "signal", sent.append)
        for _ in range(2):
            self.worker.signal_ready(1)
        self.assertEqual(sent, [])
        self.worker.childDataReceived(REPORTS, b"\n")
        self.assertEqual(sent, [1])
        self.worker.signal_ready(1)
        self.worker.childDataReceived(REPORTS, b"stopped listening\n")
        self.assertEqual(sent, [1, 1])

    def test_how(self) -> None:
        """The log says how a worker has ended."""
        for reason, text in (
            (ProcessDone(0), "ended with status 0"),
            (ProcessTerminated(exitCode=1), "ended with status 1"),
            (ProcessTerminated(signal=9), "was killed by signal 9"),
        ):
            self.assertEqual(how_it_ended(reason), text)
