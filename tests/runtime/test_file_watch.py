"""
Files are looked at in a thread, again and again.
"""

from __future__ import annotations

import threading

from twisted.internet import reactor
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from chatfiles.runtime.file_watch import INTERVAL, FileWatch


class ClockTests(SynchronousTestCase):
    """When it looks."""

    def test_interval(self) -> None:
        """It looks in its interval from its start to its stop; by default every ten seconds."""
        for interval, arguments in ((INTERVAL, ()), (1.5, (1.5,))):
            self.check_interval(interval, *arguments)

    def check_interval(self, interval: float, *arguments: float) -> None:
        """Start and stop a watch."""
        clock = Clock()
        looks: list[float] = []
        watch = FileWatch(clock, lambda: looks.append(clock.seconds()), *arguments)
        self.patch(watch, "_threads", Inline())
        self.successResultOf(watch.look_now())
        self.assertEqual(looks, [], "before the start")
        watch.start()
        self.assertEqual(looks, [], "the files have just been read")
        clock.pump([interval] * 3)
        self.assertEqual(looks, [interval, 2 * interval, 3 * interval])
        self.successResultOf(watch.look_now())
        watch.stop()
        self.successResultOf(watch.look_now())
        clock.pump([interval] * 3)
        self.assertEqual(len(looks), 4)
        self.assertEqual(clock.getDelayedCalls(), [])


class Inline:
    """Threads that are none."""

    def start(self) -> None:
        """Start."""

    def stop(self) -> None:
        """Stop."""

    def run(self, function):
        return succeed(function())


class ThreadTests(TestCase):
    """Where it looks."""

    async def test_thread(self) -> None:
        """A look runs in a thread; one that fails is logged, and the next one runs."""
        seen: list[int] = []

        def look() -> None:
            seen.append(threading.get_ident())
            if len(seen) == 1:
                raise ValueError("the first look")

        watch = FileWatch(reactor, look)
        watch.start()
        self.addCleanup(watch.stop)
        await watch.look_now()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        await watch.look_now()
        self.assertEqual(len(seen), 2)
        self.assertNotIn(threading.get_ident(), seen)
