"""
Calls that wait for a scarce worker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import RegistryUnavailable, Unavailable
from chatfiles.runtime.call_queue import (
    PER_TURN,
    TRANSITIONS,
    Call,
    CallEvent,
    CallQueue,
    CallState,
    Limits,
    SpreadResults,
)
from tests.support.turn_clock import TurnClock


class TransitionTests(SynchronousTestCase):
    """The table of states."""

    def test_reachable(self) -> None:
        """Every state can be reached."""
        self.assertEqual({*TRANSITIONS.values(), CallState.QUEUED}, set(CallState))

    def test_given_up_never_runs(self) -> None:
        """A call that was cancelled before it began never runs."""
        self.assertNotIn(CallState.ABANDONED, {state for state, _ in TRANSITIONS})
        self.assertEqual(
            [state for state, event in TRANSITIONS if event is CallEvent.START],
            [CallState.QUEUED],
        )


class _Queue(SynchronousTestCase):
    """A queue whose calls end only when the test finishes them."""

    def setUp(self) -> None:
        self.clock = TurnClock()
        self.started: list[Call[Any]] = []
        self.make()

    def make(self, running: int = 2, **more: Any) -> None:
        limits = {key: more.pop(key) for key in list(more) if key in Limits.__slots__}
        self.queue = CallQueue(self.started.append, self.clock, Limits(running, **limits), **more)

    def names(self) -> list[object]:
        """:return: what has been started."""
        return [call.work for call in self.started]


class CallQueueTests(_Queue):
    """The rules of the queue, one by one."""

    def test_in_turn(self) -> None:
        """At most as many calls run as there are workers; the rest follow in order."""
        results: list[Deferred[Any]] = [self.queue.submit(name) for name in "abcd"]
        self.assertEqual(self.names(), ["a", "b"])
        self.started[1].finish("B")
        self.assertEqual(self.successResultOf(results[1]), "B")
        self.assertEqual(self.names(), ["a", "b", "c"])
        self.started[2].finish(Failure(ZeroDivisionError()))
        self.failureResultOf(results[2], ZeroDivisionError)
        self.assertEqual(self.names(), ["a", "b", "c", "d"])
        self.assertEqual((self.queue.running, self.queue.queued), (2, 0))

    def test_owner_that_hangs(self) -> None:
        """An owner whose calls hang occupies only its share of the workers."""
        self.make(running=4, running_per_owner=2)
        for name in "abcd":
            self.queue.submit(name, owner="hangs")
        self.queue.submit("e", owner="other")
        self.assertEqual(self.names(), ["a", "b", "e"])
        self.queue.submit("f")  # without an owner
        self.assertEqual(self.names(), ["a", "b", "e", "f"])
        self.started[0].finish(None)
        self.assertEqual(self.names(), ["a", "b", "e", "f", "c"])

    def test_owners_take_turns(self) -> None:
        """Owners take turns, so that one with many calls does not delay all other owners."""
        self.make(running=1)
        for owner, names in (("one", "abc"), ("two", "de"), ("three", "f")):
            for name in names:
                self.queue.submit(name, owner=owner)
        for n in range(6):
            self.started[n].finish(None)
        self.assertEqual("".join(map(str, self.names())), "abdfce")

    def test_cancelled_before_it_began(self) -> None:
        """A call that is cancelled before it begins never runs."""
        self.make(running=1)
        self.queue.submit("a")
        given_up: list[Deferred[Any]] = [self.queue.submit("b", owner=n % 7) for n in range(10_000)]
        for result in reversed(given_up):
            result.cancel()
            self.failureResultOf(result, CancelledError)
        self.assertEqual(self.queue.queued, 0)
        self.queue.submit("c")
        self.started[0].finish(None)
        self.assertEqual(self.names(), ["a", "c"])

    def test_cancelled_while_it_runs(self) -> None:
        """
        The result of a call that is cancelled while it runs is discarded. Its worker takes the next
        call only when it has ended.
        """
        self.make(running=1)
        discarded: list[object] = []
        told: list[str] = []
        result = self.queue.submit("a", discard=discarded.append)
        self.started[0].on_orphaned = lambda: told.append("orphaned")
        waiting: Deferred[Any] = self.queue.submit("b")
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual((told, self.names()), (["orphaned"], ["a"]))
        self.started[0].finish("open file")
        self.assertEqual((discarded, self.names()), (["open file"], ["a", "b"]))
        self.assertNoResult(waiting)

    def test_settled_after_what_a_result_leads_to(self) -> None:
        """`settled` waits for a call that a result has led to, so that its worker is not closed."""
        self.make(running=1)
        first: Deferred[Any] = self.queue.submit("a")
        again: list[Deferred[Any]] = []

        def repeat(_: object) -> None:
            self.queue.resize(1)  # checks whether all is settled
            again.append(self.queue.submit("b"))

        first.addErrback(repeat)
        settled = self.queue.settled()
        self.started[0].finish(Failure(ZeroDivisionError()))
        self.assertNoResult(settled)
        self.started[1].finish("B")
        self.successResultOf(settled)
        self.assertEqual(self.successResultOf(again[0]), "B")

    def test_cause_of_a_deadline(self) -> None:
        """The error of a call that is timed out has the result of ``when_expired`` as its cause."""
        late = TimeoutError("too late")
        self.make(running=1, when_expired=lambda _: late)
        result: Deferred[Any] = self.queue.submit("a", timeout=1)
        self.clock.advance(1)
        self.assertIs(self.failureResultOf(result).value.__cause__, late)

    def test_error_is_not_discarded(self) -> None:
        """The error of a cancelled call is not passed to ``discard``."""
        result: Deferred[Any] = self.queue.submit("a", discard=lambda _: self.fail("discarded"))
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.started[0].finish(Failure(OSError()))

    def test_discard_fails(self) -> None:
        """An exception in ``discard`` is logged, and the worker takes the next call."""
        self.make(running=1)
        result: Deferred[Any] = self.queue.submit("a", discard=lambda _: 1 // 0)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.queue.submit("b")
        self.started[0].finish(1)
        self.assertEqual(self.names(), ["a", "b"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_deadline(self) -> None:
        """
        A call fails at its timeout. If it was waiting, it never runs; if it was running, its result
        is discarded.
        """
        expired: list[tuple[str, CallState]] = []
        self.make(
            running=1,
            refusal=RegistryUnavailable,
            when_expired=lambda call: expired.append((call.label, call.state)),
        )
        discarded: list[object] = []
        running = self.queue.submit("a", label="A", timeout=2, discard=discarded.append)
        waiting: Deferred[Any] = self.queue.submit("b", label="B", timeout=1)
        self.clock.advance(1)
        self.failureResultOf(waiting, RegistryUnavailable)
        self.assertNoResult(running)
        self.clock.advance(1)
        self.failureResultOf(running, RegistryUnavailable)
        self.assertEqual(expired, [("B", CallState.ABANDONED), ("A", CallState.ORPHANED)])
        self.started[0].finish("late")
        self.assertEqual((discarded, self.names()), (["late"], ["a"]))

    def test_deadline_is_dropped(self) -> None:
        """A call that has ended or was cancelled leaves no timer behind."""
        done: Deferred[Any] = self.queue.submit("a", timeout=1)
        self.queue.submit("b", timeout=1).addErrback(lambda _: None).cancel()
        self.started[0].finish(None)
        self.successResultOf(done)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_deadlines_in_one_turn(self) -> None:
        """
        Calls that time out together fail in several turns, so that they do not delay other work.
        """
        results: list[Deferred[Any]] = [
            self.queue.submit("a", timeout=1) for _ in range(3 * PER_TURN)
        ]
        settled = self.queue.settled()
        told: list[object] = []
        for result in results:
            result.addErrback(told.append)
        self.clock.advance(1)
        self.assertEqual(len(told), PER_TURN)
        for call in self.started:
            call.finish(None)
        self.assertNoResult(settled)
        self.clock.advance(0)
        self.assertEqual(len(told), 2 * PER_TURN)
        self.clock.pump([0, 0])
        self.assertEqual(len(told), 3 * PER_TURN)
        self.successResultOf(settled)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_full(self) -> None:
        """
        A call is refused when the queue is full, which bounds its memory, unless it is not
        refusable.
        """
        self.make(running=1, queued=2)
        waiting: list[Deferred[Any]] = [self.queue.submit(name) for name in "abc"]
        refused = self.failureResultOf(self.queue.submit("d"), Unavailable).value
        self.assertIsNotNone(refused.retry_after)
        must: Deferred[Any] = self.queue.submit("e", refusable=False)
        for n in range(4):
            self.started[n].finish(n)
        self.assertEqual([self.successResultOf(each) for each in [*waiting, must]], [0, 1, 2, 3])

    def test_full_of_one_owner(self) -> None:
        """An owner whose calls hang does not fill the queue; calls of other owners are accepted."""
        self.make(running=2, running_per_owner=1, queued=3, queued_per_owner=2)
        for name in "abc":
            self.queue.submit(name, owner="hangs")
        self.failureResultOf(self.queue.submit("d", owner="hangs"), Unavailable)
        self.queue.submit("e", owner="other")
        self.assertEqual(self.names(), ["a", "e"])
        self.queue.submit("f", owner="other")
        self.failureResultOf(self.queue.submit("g", owner="third"), Unavailable)

    def test_full_queue_with_a_free_worker(self) -> None:
        """A call that can begin at once is accepted, although the queue is full."""
        self.make(running=2, running_per_owner=1, queued=1)
        for name in "ab":
            self.queue.submit(name, owner="hangs")
        self.queue.submit("c", owner="other")
        self.assertEqual(self.names(), ["a", "c"])

    def test_cannot_start(self) -> None:
        """A call that no worker takes fails; thousands of them do not exhaust the stack."""

        def start(call: Call[Any]) -> None:
            if call.work == "raises":
                raise Unavailable
            call.finish(Failure(OSError()))

        queue = CallQueue(start, self.clock, Limits(0))
        results: list[Deferred[Any]] = [queue.submit(work) for work in ["raises", *range(2000)]]
        queue.resize(1)
        self.failureResultOf(results[0], Unavailable)
        for result in results[1:]:
            self.failureResultOf(result, OSError)
        self.successResultOf(queue.settled())

    def test_fail_queued(self) -> None:
        """
        `fail_queued` fails those waiting calls for which no worker will be available; the others
        and running calls continue.
        """
        self.make(running=1)
        results: list[Deferred[Any]] = [
            self.queue.submit(n, owner=n % 3, timeout=9) for n in range(6)
        ]
        self.queue.fail_queued(RegistryUnavailable(), lambda call: call.work < 5)
        self.assertNoResult(results[0])
        for result in results[1:5]:
            self.failureResultOf(result, RegistryUnavailable)
        self.assertNoResult(results[5])
        self.started[0].finish(0)
        self.assertEqual(self.names(), [0, 5])

    def test_resize(self) -> None:
        """Workers that are added later take waiting calls."""
        self.make(running=0)
        for name in "abc":
            self.queue.submit(name)
        self.assertEqual(self.names(), [])
        self.queue.resize(2)
        self.assertEqual(self.names(), ["a", "b"])

    def test_settled(self) -> None:
        """
        `settled` waits for running calls, also cancelled ones, and for calls that their results
        lead to.
        """
        self.successResultOf(self.queue.settled())
        self.queue.submit("a").addCallback(lambda _: self.queue.submit("b"))
        given_up: Deferred[Any] = self.queue.submit("c")
        given_up.addErrback(lambda failure: failure.trap(CancelledError)).cancel()
        settled = self.queue.settled()
        self.started[0].finish(None)
        self.started[2].finish(None)
        self.assertNoResult(settled)
        self.started[1].finish(None)
        self.successResultOf(settled)

    def test_twice(self) -> None:
        """Finishing a call twice raises, and does not free the worker of another call."""
        self.queue.submit("a")
        self.started[0].finish(None)
        with self.assertRaises(KeyError):
            self.started[0].finish(None)


class SpreadTests(SynchronousTestCase):
    """Results that become due together."""

    def test_cancelled_meanwhile(self) -> None:
        """A Deferred that is cancelled before its turn is not fired again."""
        clock = TurnClock()
        spread = SpreadResults(clock, lambda: None)
        due: list[Deferred[int]] = [Deferred() for _ in range(PER_TURN + 1)]
        for deferred in due:
            spread.fire(deferred, 1)
        self.assertNoResult(due[-1])
        due[-1].cancel()
        self.failureResultOf(due[-1], CancelledError)
        clock.advance(0)
        self.assertEqual((len(spread), self.successResultOf(due[0])), (0, 1))


# Random sequences

OWNERS: list[Hashable] = [None, "one", "two", "three"]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.sampled_from(OWNERS), st.sampled_from([None, 1, 3])),
        st.tuples(st.just("cancel"), st.integers(0, 30), st.none()),
        st.tuples(st.just("finish"), st.integers(0, 10), st.booleans()),
        st.tuples(st.just("advance"), st.integers(1, 2), st.none()),
        st.tuples(st.just("resize"), st.integers(0, 3), st.none()),
        st.tuples(st.just("fail"), st.none(), st.none()),
    ),
    max_size=60,
)
RUNNING, PER_OWNER, QUEUED, QUEUED_PER_OWNER = 3, 2, 8, 4


class _Model:
    """Applies steps to a queue, and checks its guarantees after each of them."""

    def __init__(self, test: SynchronousTestCase) -> None:
        self.test = test
        self.clock = Clock()
        self.running: list[Call[Any]] = []
        self.started: list[int] = []
        self.fired: Counter[int] = Counter()
        self.outcomes: dict[int, object] = {}
        self.discarded: list[int] = []
        self.returned: list[int] = []
        self.calls: list[Deferred[int]] = []
        self.owners: list[Hashable] = []
        self.most = RUNNING
        self.queue = CallQueue(
            self.start,
            self.clock,
            Limits(RUNNING, PER_OWNER, QUEUED, QUEUED_PER_OWNER),
        )

    def start(self, call: Call[Any]) -> None:
        self.test.assertIs(call.state, CallState.RUNNING)
        self.test.assertNotIn(call.work, self.fired, "given up or refused, and yet begun")
        self.running.append(call)
        self.started.append(call.work)
        self.test.assertLessEqual(len(self.running), self.most)
        of_owner = [each for each in self.running if each.owner == call.owner]
        self.test.assertTrue(call.owner is None or len(of_owner) <= PER_OWNER)

    def submit(self, owner: Hashable, timeout: float | None) -> None:
        number = len(self.calls)

        def fired(result: object) -> None:
            self.fired[number] += 1
            self.outcomes[number] = result

        self.owners.append(owner)
        result: Deferred[int] = self.queue.submit(
            number, owner=owner, timeout=timeout, discard=self.discarded.append
        )
        self.calls.append(result)
        result.addBoth(fired)

    def cancel(self, index: int, _: None) -> None:
        if index < len(self.calls):
            self.calls[index].cancel()

    def finish(self, index: int, good: bool) -> None:
        if index < len(self.running):
            call = self.running.pop(index)
            if good:
                self.returned.append(call.work)
            call.finish(call.work if good else Failure(OSError()))

    def advance(self, seconds: int, _: None) -> None:
        self.clock.advance(seconds)

    def resize(self, running: int, _: None) -> None:
        self.most = max(running, len(self.running))  # running calls are not stopped
        self.queue.resize(running)
        self.size = running

    def fail(self, *_: None) -> None:
        self.queue.fail_queued(RegistryUnavailable(), lambda _: True)

    def check(self) -> None:
        """Assert what holds between steps."""
        test, queue = self.test, self.queue
        test.assertEqual(queue.running, len(self.running))
        test.assertLessEqual(queue.queued, QUEUED)
        waiting = set(range(len(self.calls))) - set(self.fired) - set(self.started)
        test.assertEqual(queue.queued, len(waiting))
        for owner, count in Counter(self.owners[n] for n in waiting).items():
            test.assertTrue(owner is None or count <= QUEUED_PER_OWNER)

    def check_busy(self, running: int) -> None:
        """Assert that no worker is idle while a waiting call could use it."""
        waiting = set(range(len(self.calls))) - set(self.fired) - set(self.started)
        busy = Counter(call.owner for call in self.running)
        if len(self.running) < running:
            for n in waiting:
                owner = self.owners[n]
                self.test.assertTrue(owner is not None and busy[owner] >= PER_OWNER)


class RandomTests(SynchronousTestCase):
    """Any sequence of events."""

    @given(STEPS)
    def test_promises(self, steps: list[tuple[str, Any, Any]]) -> None:
        """
        Each call fires once, never runs after it was cancelled, and stays within the limits. Each
        result is either delivered or discarded, and nothing is left behind.
        """
        model = _Model(self)
        size = RUNNING
        for name, *arguments in steps:
            step: Callable[..., None] = getattr(model, name)
            step(*arguments)
            size = arguments[0] if name == "resize" else size
            model.check()
            model.check_busy(size)
        model.most = RUNNING
        model.queue.resize(RUNNING)
        while model.running:
            model.finish(0, True)
            model.check()
        self.successResultOf(model.queue.settled())
        self.assertEqual(model.fired, Counter(range(len(model.calls))))
        arrived = [n for n in model.returned if model.outcomes[n] == n]
        self.assertEqual(sorted(arrived + model.discarded), sorted(model.returned))
        model.clock.advance(0)
        self.assertEqual(model.clock.getDelayedCalls(), [])
        self.assertEqual(left_behind(model.queue), [])

    @given(st.lists(st.sampled_from(OWNERS), min_size=1, max_size=60))
    def test_no_starvation(self, owners: list[Hashable]) -> None:
        """While an owner's call waits for its turn, each other owner begins at most one call."""
        started: list[Call[Any]] = []
        queue = CallQueue(started.append, Clock(), Limits(0, 1, 1000))
        ahead: Counter[Hashable] = Counter()
        places: list[Any] = []
        for owner in owners:
            queue.submit((owner, ahead[owner]), owner=owner)
            ahead[owner] += 1
        queue.resize(1)
        while queue.running:
            call = started[len(places)]
            places.append(call.work)
            call.finish(None)
        self.assertEqual(len(places), len(owners))
        for place, (_, before) in enumerate(places):
            self.assertLess(place, (before + 1) * len(ahead))


def left_behind(queue: CallQueue) -> list[str]:
    """:return: the containers of the queue that are not empty."""
    names = ("_queued", "_turns", "_running", "_settling")
    return [name for name in names if getattr(queue, name)]
