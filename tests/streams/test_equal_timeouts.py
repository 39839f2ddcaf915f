"""
Timeouts of one length that share a timer.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.streams.equal_timeouts import EqualTimeouts, Timeout
from tests.support.turn_clock import TurnClock

SECONDS = 10.0


class EqualTimeoutsTests(SynchronousTestCase):
    """When timeouts pass, and what is left afterwards."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.timeouts = EqualTimeouts(self.clock, SECONDS)
        self.passed: list[str] = []

    def start(self, name: str) -> Timeout:
        return self.timeouts.start(lambda: self.passed.append(name))

    def test_passes(self) -> None:
        """A timeout passes once, when its time is over and not before."""
        timeout = self.start("a")
        self.assertEqual(timeout.at, SECONDS)
        self.clock.advance(SECONDS - 0.001)
        self.assertEqual((self.passed, timeout.active), ([], True))
        self.clock.advance(0.001)
        self.assertEqual((self.passed, timeout.active), (["a"], False))
        self.clock.advance(10 * SECONDS)
        self.assertEqual((self.passed, self.clock.getDelayedCalls()), (["a"], []))

    def test_each_has_its_time(self) -> None:
        """Each timeout passes at its own time, although there is one timer at most."""
        for name in "abc":
            self.start(name)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            self.clock.advance(1)
        self.clock.advance(SECONDS - 3)
        self.assertEqual(self.passed, ["a"])
        self.clock.advance(1)
        self.assertEqual(self.passed, ["a", "b"])
        self.clock.advance(1)
        self.assertEqual(self.passed, ["a", "b", "c"])

    def test_stopped(self) -> None:
        """A timeout that was stopped never passes; the ones before and after it do."""
        self.start("a")
        stopped = self.start("b")
        self.start("c")
        stopped.stop()
        stopped.stop()
        self.assertFalse(stopped.active)
        self.clock.advance(SECONDS)
        self.assertEqual(self.passed, ["a", "c"])

    def test_stop_all(self) -> None:
        """After `stop` nothing passes, and no timer is left; a new timeout can be started."""
        self.timeouts.stop()
        self.start("a")
        self.timeouts.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(1)
        self.start("b")
        self.clock.advance(SECONDS)
        self.assertEqual(self.passed, ["b"])

    def test_stopped_in_another(self) -> None:
        """A timeout that is stopped while another one passes in the same moment does not pass."""
        others: list[Timeout] = []

        def stop_others() -> None:
            for other in others:
                other.stop()

        self.timeouts.start(stop_others)
        others.append(self.start("later"))
        self.clock.advance(SECONDS)
        self.assertEqual(self.passed, [])

    def test_started_in_another(self) -> None:
        """A timeout that is started while another one passes has the full time."""
        self.timeouts.start(lambda: self.start("second"))
        self.clock.advance(SECONDS)
        self.clock.advance(SECONDS - 1)
        self.assertEqual(self.passed, [])
        self.clock.advance(1)
        self.assertEqual(self.passed, ["second"])

    def test_a_failure(self) -> None:
        """If a callback raises, the other timeouts still pass."""

        def fail() -> None:
            raise KeyError("expired")

        self.timeouts.start(fail)
        self.start("b")
        self.assertRaises(KeyError, self.clock.advance, SECONDS)
        self.clock.advance(0)
        self.assertEqual(self.passed, ["b"])

    def test_what_has_arrived_is_read_first(self) -> None:
        """
        If the reactor was busy until the timeout's end, it reads what has arrived before the
        timeout passes: the response may be among it.
        """
        clock = TurnClock()
        timeout = EqualTimeouts(clock, SECONDS).start(lambda: self.passed.append("a"))
        clock.advance(2 * SECONDS)
        self.assertEqual((self.passed, timeout.active), ([], True))
        timeout.stop()  # the response was read
        clock.advance(0)
        self.assertEqual(self.passed, [])

    def test_bounded(self) -> None:
        """Timeouts that were stopped are forgotten, also behind one that is still active."""
        self.start("a")
        for _ in range(1000):
            self.start("b").stop()
        self.assertEqual(len(self.timeouts._active), 1)

    def test_keeps_nothing_alive(self) -> None:
        """A stopped timeout does not keep its callback, even behind one that is still active."""
        self.start("a")
        stopped = self.start("b")
        stopped.stop()
        self.assertIsNone(stopped._expired)

    @given(st.lists(st.tuples(st.sampled_from(("start", "stop", "wait")), st.integers(0, 12))))
    def test_as_single_timers(self, steps: list[tuple[str, int]]) -> None:
        """The same timeouts pass, in the same order, as with one timer each."""
        clock = Clock()
        passed: list[int] = []
        expected: list[int] = []
        timeouts = EqualTimeouts(clock, SECONDS)
        started = []
        for name, (step, number) in enumerate(steps):
            if step == "start":
                shared = timeouts.start(lambda name=name: passed.append(name))  # type: ignore[misc]
                started.append((shared, clock.callLater(SECONDS, expected.append, name)))
            elif step == "stop" and number < len(started):
                shared, own = started[number]
                shared.stop()
                if own.active():
                    own.cancel()
            elif step == "wait":
                clock.advance(number)
                self.assertEqual(passed, expected)
        clock.advance(SECONDS)
        self.assertEqual(passed, expected)
        self.assertEqual(clock.getDelayedCalls(), [])
