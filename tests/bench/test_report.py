"""
`bench.report`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.report import lines, number
from bench.results import Result, Sample
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
            list(lines(RESULT)),
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
        samples = {name: [Sample(1.0)] for name in ("x", "y", "nginx")}
        result = Result("a/b", "t", "u", "", samples, ["x", "y"])
        found = [line.split(":")[0].strip() for line in lines(result)]
        self.assertEqual(found[-3:], ["x / nginx", "y / x", "y / nginx"])

    def test_cpu(self) -> None:
        """The CPU time of all servers of a system is compared too, round by round."""
        samples = {
            "x": [Sample(1.0, {"a": 1.0, "b": 2.0}), Sample(1.0, {"a": 3.0, "b": 3.0})],
            "nginx": [Sample(1.0, {"c": 6.0}), Sample(1.0, {"c": 6.0})],
        }
        found = list(lines(Result("a/b", "t", "u", "s", samples, ["x"])))
        self.assertEqual(
            found[1], "  x      1.00 (1.00 to 1.00); CPU a 2.00, b 2.50, together 4.50 s"
        )
        self.assertTrue(found[-1].endswith("; CPU ratio 0.750 (0.500 to 1.00)"), found[-1])

    def test_nothing_added(self) -> None:
        """A system that added no memory has no ratio, and its value is shown."""
        samples = {"x": [Sample(4.0)], "nginx": [Sample(0.0)]}
        found = list(lines(Result("a/b", "t", "MiB", "", samples, ["x"], lower_is_better=True)))
        self.assertEqual(found[0], "a/b: t, MiB (lower is better)")
        self.assertEqual(found[2:], ["  nginx  0.000 (0.000 to 0.000)"])
