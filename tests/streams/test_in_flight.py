"""
How much of a file is copied, so that a rewrite does not change what is on the way.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.streams.in_flight import (
    DEFAULT_IN_FLIGHT,
    PIPE_BYTES,
    in_flight_limit,
    relayed_tail,
    unspliced_rest,
)

SETTINGS = {
    "ipv4/tcp_wmem": "4096 16384 4000000",
    "ipv4/tcp_rmem": "4096 131072 6000000",
    "core/wmem_max": "200000",
    "core/rmem_max": "7000000",
}


class InFlightTests(SynchronousTestCase):
    """`in_flight_limit` and what depends on it."""

    def settings(self, **more: str) -> Path:
        """:return: a directory as ``/proc/sys/net``."""
        top = Path(self.mktemp())
        for name, value in {**SETTINGS, **more}.items():
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).write_text(value + "\n")
        return top

    def test_limit(self) -> None:
        """The larger of what the kernel and a program may choose, for each direction."""
        self.assertEqual(in_flight_limit(self.settings()), 4_000_000 + 14_000_000)

    def test_unknown(self) -> None:
        """Without the kernel's settings, it is a constant."""
        self.assertEqual(in_flight_limit(Path(self.mktemp())), DEFAULT_IN_FLIGHT)
        garbled = self.settings(**{"core/rmem_max": "many"})
        self.assertEqual(in_flight_limit(garbled), DEFAULT_IN_FLIGHT)

    def test_hops(self) -> None:
        """Each connection and each pipe on the way counts."""
        self.assertEqual(relayed_tail(1000), 2000 + PIPE_BYTES)
        self.assertGreaterEqual(unspliced_rest(1000), 3000 + 2 * PIPE_BYTES)
