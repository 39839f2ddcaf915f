"""
Tests for `chatfiles.workspace.resumable.sweep`.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.workspace.resumable.sweep import HourlySweep
from tests.workspace.resumable.resumable_case import AtOnce


class HourlySweepTests(SynchronousTestCase):
    """When uploads are swept."""

    def test_times(self) -> None:
        """At the start, and every hour, also after a failure, until it is stopped."""
        clock, threads, uploads = Clock(), AtOnce(), Mock()
        uploads.sweep.side_effect = [0, OSError("gone"), 3, 0]
        given: Any = threads
        sweeping = HourlySweep(uploads, given, clock)
        sweeping.start()
        for count in (1, 2, 3):
            self.assertEqual(uploads.sweep.call_count, count)
            clock.advance(3599)
            self.assertEqual(uploads.sweep.call_count, count)
            clock.advance(1)
        sweeping.stop()
        sweeping.stop()
        clock.advance(7200)
        self.assertEqual(uploads.sweep.call_count, 4)
