"""
`bench.load`.
"""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from bench.load import Load, command, parse
from bench.target import Failed, Target

OUTPUT = """Running 1s test @ http://127.0.0.1:8080/1k
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.02ms    0.10ms   2.00ms   90.00%
Requests/sec:    750.00
Transfer/sec:    832.00KB

"""
VALUES = {
    "requests": 1500,
    "microseconds": 2_000_000,
    "bytes": 1_800_000,
    "p50": 1020,
    "p99": 2500,
    "connect": 0,
    "read": 0,
    "write": 0,
    "status": 0,
    "timeout": 0,
}


def output(**changes: int) -> str:
    """:return: what wrk and its script print."""
    return f"{OUTPUT}{json.dumps({**VALUES, **changes})}\n"


class ParseTests(SynchronousTestCase):
    """What wrk reports."""

    def test_values(self) -> None:
        """Times are converted from microseconds; the rate follows from the exact duration."""
        found = parse(output())
        self.assertEqual(found, Load(1500, 2.0, 1.02, 2.5))
        self.assertEqual(found.rate, 750.0)

    def test_failures(self) -> None:
        """A load with failed requests is not a measurement, whatever has failed."""
        for name in ("connect", "read", "write", "status", "timeout"):
            error = self.assertRaises(Failed, parse, output(**{name: 3}))
            self.assertIn(f"'{name}': 3", str(error))

    def test_no_requests(self) -> None:
        """Nor is one without any response."""
        self.assertRaises(Failed, parse, output(requests=0))

    def test_no_report(self) -> None:
        """What wrk printed instead is in the error."""
        error = self.assertRaises(Failed, parse, "unable to connect")
        self.assertIn("unable to connect", str(error))


class CommandTests(SynchronousTestCase):
    """The arguments of wrk."""

    target = Target(8080, "/1k", (("Accept", "a b"),))

    def test_headers(self) -> None:
        """Each header is one argument; the URL comes after all options."""
        words = command(self.target.having(("Connection", "close")), 16, 2.0)
        self.assertEqual(words[words.index("-H") + 1], "Accept: a b")
        self.assertIn("Connection: close", words)
        self.assertEqual(words[-1], "http://127.0.0.1:8080/1k")
        self.assertIn("-c16", words)

    def test_seconds(self) -> None:
        """wrk takes whole seconds, and at least one."""
        for seconds, argument in ((0.2, "-d1s"), (1.6, "-d2s"), (5.0, "-d5s")):
            self.assertIn(argument, command(self.target, 1, seconds))

    def test_files(self) -> None:
        """The number of files is the argument of the script."""
        self.assertEqual(command(self.target, 1, 1.0, 2000)[-2:], ["--", "2000"])
