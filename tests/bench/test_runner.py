"""
`bench.runner` and `bench.session`, with systems that are not there.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from bench import session
from bench.certificate import Certificate
from bench.processes import Server
from bench.runner import Plan, Run, turned
from bench.scenarios.base import REQUEST, Measured, Scenario
from bench.session import Session
from bench.systems.base import Place, Start, System, Unavailable
from bench.target import Failed

PLACE = Place("/nonexistent", "/nonexistent", Certificate("", ""))


class Working(Server):
    """A process that works half a second whenever it is looked at."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def cpu_seconds(self) -> float:
        self._seconds += 0.5
        return self._seconds


class RunnerTests(SynchronousTestCase):
    """Rounds, and what is skipped."""

    def setUp(self) -> None:
        self.measured: list[tuple[str, float]] = []
        self.said: list[str] = []
        self.scenario = Scenario("group", "name", "title", "unit", REQUEST, self.measure)

    def measure(self, system: System, seconds: float) -> Measured:
        """:return: a measurement of 1000 requests; it fails for the third of ``breaks``."""
        self.measured.append((system.name, seconds))
        if self.measured.count(("breaks", 2.0)) == 2 and system.name == "breaks":
            raise Failed("closed")
        return Measured(7.0, 1000)

    def system(self, name: str) -> System:
        """:return: a system with one process."""
        return System(name, {"only": Working()}, self.fail)

    def start(self, name: str) -> Start:
        """:return: what starts it."""
        return lambda _place, _stack: self.system(name)

    def session(self, **others: Start) -> Session:
        """:return: a session of two rounds."""
        plan = Plan(2.0, 2, 1.0)
        ours = {"ours": self.start("ours")}
        return Session(PLACE, ours, others, "", plan, ExitStack(), self.said.append)

    def test_turns(self) -> None:
        """Every system begins a round, so that none always follows the same one."""
        turns = ["".join(turned("abc", turn)) for turn in range(4)]
        self.assertEqual(turns, ["abc", "bca", "cab", "abc"])
        self.assertEqual(turned([], 1), [])

    def test_cpu(self) -> None:
        """CPU time is what was spent while it was measured, for each request."""
        run = Run(self.scenario, ["ours"])
        run.round([self.system("ours")], 2.0)
        self.assertEqual(run.result().cpu("ours")["only"].median, 500.0)

    def test_rounds(self) -> None:
        """Systems are measured in turn; what the warm-up measured is not kept."""
        result = self.session(nginx=self.start("nginx")).measure(self.scenario)
        assert result is not None
        self.assertEqual(
            {name: len(each) for name, each in result.samples.items()}, {"ours": 2, "nginx": 2}
        )
        order = [("ours", 1.0), ("nginx", 1.0), ("ours", 2.0), ("nginx", 2.0)]
        self.assertEqual(self.measured, [*order, ("nginx", 2.0), ("ours", 2.0)])

    def test_failure(self) -> None:
        """A system that fails is left out with the reason, and the others are measured."""
        result = self.session(breaks=self.start("breaks")).measure(self.scenario)
        assert result is not None
        self.assertEqual(list(result.samples), ["ours"])
        self.assertEqual(result.skipped, {"breaks": "failed: closed"})

    def test_not_offered(self) -> None:
        """A system that a scenario does not apply to is left out, and not called."""
        scenario = replace(self.scenario, applies=lambda system: system.name == "ours")
        result = self.session(nginx=self.start("nginx")).measure(scenario)
        assert result is not None
        self.assertEqual(result.skipped, {"nginx": "does not offer this"})
        self.assertNotIn("nginx", dict(self.measured))

    def test_unavailable(self) -> None:
        """The reason why a system is not there is printed once for all scenarios."""

        def start(_place: Place, _stack: ExitStack) -> System:
            raise Unavailable("not installed")

        made = self.session(aiohttp=start)
        made.measure(self.scenario)
        made.measure(self.scenario)
        self.assertEqual(self.said, ["aiohttp is skipped: not installed"])

    def test_fresh(self) -> None:
        """A scenario that needs new systems gets them in every round, without a warm-up."""
        started = []

        def start(_place: Place, stack: ExitStack) -> System:
            started.append("start")
            stack.callback(started.append, "end")
            return self.system("new")

        self.session(new=start).measure(replace(self.scenario, fresh=True))
        self.assertEqual(started, ["start", "end"] * 2)
        self.assertNotIn(1.0, [seconds for _, seconds in self.measured])

    def test_without_wrk(self) -> None:
        """Without wrk, the output says what is missing and what needs it."""
        self.patch(os, "environ", {**os.environ, "PATH": ""})
        self.assertIsNone(self.session().measure(replace(self.scenario, needs_wrk=True)))
        self.assertIn("group/name is skipped: wrk is not installed", self.said[0])

    def test_unknown_option(self) -> None:
        """A scenario of an option that the roles do not have is skipped with a line."""
        self.patch(session, "supports", lambda _option: False)
        self.assertIsNone(self.session().measure(replace(self.scenario, variant="--more=2")))
        self.assertEqual(self.said, ["group/name is skipped: the roles have no option --more"])
        self.assertEqual(self.measured, [])
