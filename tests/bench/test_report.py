"""
`bench.report` and the order of `bench.runner`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.report import lines, number
from bench.results import Result, Sample
from bench.runner import order
from bench.systems.base import System
from tests.bench.results import RESULT


class ReportTests(SynchronousTestCase):
    """Lines of text."""

    def test_numbers(self) -> None:
        """Three significant digits, so that small and large values can be read alike."""
        for value, text in (
            (12345.6, "12 346"),
            (623.4, "623"),
            (12.34, "12.3"),
            (1.234, "1.23"),
            (0.02345, "0.023"),
        ):
            self.assertEqual(number(value), text)

    def test_lines(self) -> None:
        """Values, CPU time, what was skipped and why, and the ratio with its spread."""
        self.assertEqual(
            list(lines(RESULT, ["chatfiles"])),
            [
                "small/1k: 1 KiB, requests/s",
                "  chatfiles  20.0 (10.0 to 30.0); CPU platform 2.00 µs/request",
                "  nginx      50.0 (40.0 to 60.0)",
                "  aiohttp    skipped: not installed",
                "  chatfiles / nginx: ratio 0.375 (0.250 to 0.500)",
            ],
        )

    def test_variants(self) -> None:
        """A variant is compared with the ones before it, and no pair is compared twice."""
        result = Result("a/b", "t", "u", "", {name: [Sample(1.0)] for name in ("x", "y", "nginx")})
        found = [line.split(":")[0].strip() for line in lines(result, ["x", "y"])]
        self.assertEqual(found[-3:], ["x / nginx", "y / x", "y / nginx"])


class OrderTests(SynchronousTestCase):
    """The order of measurements."""

    def test_turns(self) -> None:
        """Every system is measured once in each round, and each begins a round."""
        systems = [System(name, {}, self.fail) for name in ("a", "b", "c")]
        turns = ["".join(system.name for system in turn) for turn in order(systems, 4)]
        self.assertEqual(turns, ["abc", "bca", "cab", "abc"])
