"""
The numbers of connections that the workers share.
"""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.workers.load import MOST_WORKERS, Load, SharedLoads


class LoadTests(SynchronousTestCase):
    """Which worker leaves new connections to another."""

    def setUp(self) -> None:
        fd = SharedLoads.create()
        self.addCleanup(os.close, fd)
        # Two mappings, as in two processes.
        self.first, self.second = SharedLoads(fd), SharedLoads(fd)

    def test_ahead(self) -> None:
        """A worker is ahead if it has at least two connections more than another that serves."""
        for mine, other, ahead in ((0, 0, False), (1, 0, False), (2, 0, True), (7, 6, False)):
            self.second.set(MOST_WORKERS, other)
            load = Load(self.first, 1, lambda: mine)  # noqa: B023
            self.assertEqual(load.is_ahead(), ahead, (mine, other))

    def test_alone(self) -> None:
        """A worker is not ahead of those that do not serve, before their start or at their end."""
        load = Load(self.first, 1, lambda: 9)
        self.assertFalse(load.is_ahead())
        self.second.set(2, 0)
        self.assertTrue(load.is_ahead())
        self.second.forget(2)
        self.assertFalse(load.is_ahead())

    def test_forget(self) -> None:
        """Nobody waits for a worker that accepts no more connections."""
        other = Load(self.second, 2, lambda: 0)
        other.is_ahead()
        self.assertEqual(self.first.least(), 0)
        self.first.set(1, 5)
        other.forget()
        self.assertEqual(self.first.least(), 5)
