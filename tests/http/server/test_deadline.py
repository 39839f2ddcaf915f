"""
`Deadline`: one timer for a deadline that moves often.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.http.server.deadline import Deadline
from tests.support.reading_clock import ReadingClock

SECONDS = st.none() | st.integers(0, 20).map(lambda quarter: quarter / 4)


class StrictClock(Clock):
    """Refuses a time that has passed, as the reactor does."""

    def callLater(
        self,
        delay: float,
        callable: Callable[..., object],  # noqa: A002
        *args: object,
        **kw: object,
    ) -> IDelayedCall:
        """:raise AssertionError: *delay* is negative."""
        assert delay >= 0, delay
        return super().callLater(delay, callable, *args, **kw)


class DeadlineTests(SynchronousTestCase):
    """When a deadline expires, and what it costs."""

    def setUp(self) -> None:
        self.clock = StrictClock()
        self.expired: list[float] = []
        self.deadline = Deadline(self.clock, lambda: self.expired.append(self.clock.seconds()))

    def test_expires_once(self) -> None:
        """A deadline expires once and leaves no timer."""
        self.deadline.set(2)
        self.clock.pump([1] * 5)
        self.assertEqual((self.expired, self.clock.getDelayedCalls()), ([2], []))

    def test_passed(self) -> None:
        """A process that stood still may set a deadline that has passed: it expires soon."""
        self.deadline.set(-1)
        self.clock.pump([0, 0])
        self.assertEqual((self.expired, self.clock.getDelayedCalls()), ([0], []))

    def test_costs_nothing(self) -> None:
        """Moving the deadline does not create a timer each time."""
        for _ in range(100):
            self.deadline.set(60)
            self.deadline.set(0.25)
            self.deadline.set(None)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(100)
        self.assertEqual((self.expired, self.clock.getDelayedCalls()), ([], []))

    def test_set_when_expired(self) -> None:
        """A deadline can be set again when it expires."""

        def expire() -> None:
            self.expired.append(1)
            deadline.set(1)

        deadline = Deadline(self.clock, expire)
        deadline.set(1)
        self.clock.pump([0.5] * 8)
        self.assertEqual(len(self.expired), 4)

    def test_read_first(self) -> None:
        """
        A process that stood still past the deadline reads what has arrived before it expires; what
        it reads may move the deadline.
        """
        later: list[float] = [2]

        def read() -> None:
            if later:
                self.deadline.set(later.pop())

        clock = ReadingClock(read)
        self.deadline = Deadline(clock, lambda: self.expired.append(clock.seconds()))
        self.deadline.set(1)
        clock.stand_still(60)
        self.assertEqual(self.expired, [])
        clock.stand_still(1)
        self.assertEqual(self.expired, [])
        clock.stand_still(1)
        self.assertEqual(self.expired, [62])

    def test_stop(self) -> None:
        """After `stop`, which may be called repeatedly, no timer is left."""
        self.deadline.stop()
        self.deadline.set(1)
        self.deadline.stop()
        self.deadline.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_sums_of_floats(self) -> None:
        """A deadline expires even if the clock is short of it by a rounding error."""
        for step in (0.1, 0.3, 0.7):
            self.expired.clear()
            self.deadline.set(10 * step + 100)
            self.deadline.set(10 * step + 107)
            self.clock.pump([step] * 2000)
            self.assertEqual(len(self.expired), 1)

    @given(st.lists(st.tuples(SECONDS, st.integers(0, 8).map(lambda quarter: quarter / 4))))
    def test_moves(self, steps: list[tuple[float | None, float]]) -> None:
        """A deadline that is moved expires once, at the time that was set last."""
        self.setUp()
        expected, at = [], None
        for seconds, pause in steps:
            now = self.clock.seconds()
            self.deadline.set(seconds)
            at = None if seconds is None else now + seconds
            self.clock.advance(pause)
            if at is not None and at <= now + pause:
                expected.append(now + pause)
                at = None
        self.assertEqual(self.expired, expected)
