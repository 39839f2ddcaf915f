"""
Runs trial so that each process of ``--jobs`` runs whole classes of tests, and classes that share
roles or a module one after the other: ``python -m tests.run TRIAL-OPTIONS AND NAMES``.

trial by itself gives each process the next test, so that all processes start the roles of all
classes.  It has no public way to choose which process runs a test, so `Runner` overrides a private
method of it.  Processes that each run trial with a fixed share of the classes would need nothing
private, but some would end long before the others: how long a class takes depends on the machine.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING

from twisted.scripts import trial
from twisted.trial._dist.disttrial import DistTrialRunner
from twisted.trial.itrial import ITestCase

if TYPE_CHECKING:
    from twisted.trial._dist.distreporter import DistReporter
    from twisted.trial._dist.worker import LocalWorkerAMP

__all__ = ["Queue"]


class Queue:
    """
    The classes of tests that no process has begun.

    :param cases: the tests.  What waits for processes comes first, so that the processes of the
        run end at about the same time.
    """

    def __init__(self, cases: Iterable[ITestCase]) -> None:
        self._waiting: dict[Hashable, dict[type, list[ITestCase]]] = {}
        self._begun: set[Hashable] = set()
        for case in sorted(cases, key=lambda case: not case.id().startswith("tests.live.")):
            classes = self._waiting.setdefault(shared_by(case), {})
            classes.setdefault(type(case), []).append(case)

    def take(self, last: Hashable = None) -> list[ITestCase]:
        """
        :param last: what the tests share that the process has run last.
        :return: the tests of a class that the process runs next; none if there is no class left.
        """
        if not self._waiting:
            return []
        shared = self._best(last)
        self._begun.add(shared)
        classes = self._waiting[shared]
        tests = classes.pop(next(iter(classes)))
        if not classes:
            del self._waiting[shared]
        return tests

    def _best(self, last: Hashable) -> Hashable:
        if last in self._waiting:
            return last
        new = (shared for shared in self._waiting if shared not in self._begun)
        return next(new, max(self._waiting, key=lambda shared: len(self._waiting[shared])))


def shared_by(case: ITestCase) -> Hashable:
    """:return: what tests have in common that use the same roles; otherwise their module."""
    make_pair = getattr(case, "make_pair", None)
    shared: Hashable = getattr(make_pair, "__func__", type(case).__module__)
    return shared


class Runner(DistTrialRunner):
    """trial's runner for several processes."""

    _given: Iterable[ITestCase] = ()

    async def _driveWorker(
        self, result: DistReporter, testCases: Iterable[ITestCase], worker: LocalWorkerAMP
    ) -> None:
        if self._given is not testCases:  # all processes are given the same, in each pass
            self._given, self._queue = testCases, Queue(testCases)
        queue, shared = self._queue, None
        while tests := queue.take(shared):
            shared = shared_by(tests[0])
            await super()._driveWorker(result, tests, worker)


if __name__ == "__main__":
    trial.DistTrialRunner = Runner  # type: ignore[attr-defined]
    trial.run()
