"""
Starts the systems, and measures scenarios with them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench import load
from bench.certificate import make_certificate
from bench.files import make_files
from bench.results import Result
from bench.runner import Plan, Run, turned
from bench.scenarios.base import Scenario
from bench.systems.base import Place, Start, System, Unavailable
from bench.systems.chatfiles import chatfiles, supports

__all__ = ["Session", "prepare"]


def prepare(directory: str, stack: ExitStack) -> Place:
    """:return: a new directory below *directory* with the files, removed with *stack*."""
    base = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=directory))
    os.chmod(base, 0o755)
    files, scratch = os.path.join(base, "files"), os.path.join(base, "scratch")
    os.mkdir(files)
    os.mkdir(scratch)
    make_files(files)
    return Place(files, scratch, make_certificate(scratch))


@dataclass(frozen=True, slots=True)
class Session:
    """
    One run of the command.

    :param ours: what starts the variants of chatfiles.
    :param others: what starts the systems to compare with.
    :param options: the options of the first variant.
    :param stack: ends the systems.
    :param say: prints a line.
    """

    place: Place
    ours: Mapping[str, Start]
    others: Mapping[str, Start]
    options: str
    plan: Plan
    stack: ExitStack
    say: Callable[[str], object]
    _running: list[System] = field(default_factory=list)

    def measure(self, scenario: Scenario) -> Result | None:
        """:return: the result; `None` if something is missing here, which is printed."""
        problem = self._problem(scenario)
        if problem:
            self.say(f"{scenario.key} is skipped: {problem}")
            return None
        run = Run(scenario, [*self.ours, *self._variants(scenario)])
        if scenario.fresh:
            self._measure_fresh(scenario, run)
        else:
            self._measure_running(scenario, run)
        return run.result()

    def _problem(self, scenario: Scenario) -> str | None:
        for word in scenario.variant.split():
            option = word.partition("=")[0].rpartition(":")[2]
            if not supports(option):
                return f"the roles have no option {option}"
        return load.wrk_problem() if scenario.needs_wrk else None

    def _variants(self, scenario: Scenario) -> dict[str, Start]:
        """:return: what starts the variant that only this scenario measures."""
        if not scenario.variant:
            return {}
        name = f"chatfiles {scenario.variant}"
        return {name: chatfiles(name, f"{self.options} {scenario.variant}")}

    def _measure_running(self, scenario: Scenario, run: Run) -> None:
        if not self._running:
            self._running.extend(self._start({**self.ours, **self.others}, self.stack))
        with ExitStack() as stack:
            systems = [*self._running, *self._start(self._variants(scenario), stack)]
            run.warm_up(systems, self.plan.warm_up)
            for turn in range(self.plan.rounds):
                run.round(turned(systems, turn), self.plan.seconds)

    def _measure_fresh(self, scenario: Scenario, run: Run) -> None:
        starts = {**self.ours, **self._variants(scenario), **self.others}
        for turn in range(self.plan.rounds):
            with ExitStack() as stack:
                run.round(turned(self._start(starts, stack), turn), self.plan.seconds)

    def _start(self, starts: Mapping[str, Start], stack: ExitStack) -> Sequence[System]:
        """:return: the systems that run now; the reasons of the others are printed."""
        running = []
        for name, start in starts.items():
            try:
                running.append(start(self.place, stack))
            except Unavailable as reason:
                self.say(f"{name} is skipped: {reason}")
        return running
