"""
reference/uploads, "Back-pressure": a body is written to a blocking sink in order and with
back-pressure; the sink is closed once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.streams.body_sink import MOST_PIECES, SinkFeeder
from chatfiles.streams.memory_budget import PIECE, MemoryBudget
from chatfiles.streams.outcome import ClientLeft
from chatfiles.streams.transports import SMALL_READ


class SinkError(Exception):
    """What a sink may raise."""


class Body:
    """Counts as `chatfiles.http.server.request_body.RequestBody` does."""

    paused = False
    all_seen = False
    read_size = 0

    def read_at_most(self, size: int) -> None:
        self.read_size = size

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class Sink:
    """Records its calls; fails if it is used after its end."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.content = b""
        self.raises: dict[str, Exception] = {}
        self.prepared = False
        self.closed = 0
        self.kept: bool | None = None

    def feed(self, data: bytes) -> None:
        assert data
        assert not self.closed
        self.content += data
        self._called("feed")

    def prepare(self) -> None:
        assert not self.closed
        self.prepared = True

    def finish(self) -> bytes:
        assert self.prepared
        assert not self.closed
        self._called("finish")
        return self.content

    def keep(self) -> None:
        self.closed += 1
        self.kept = True
        self._called("keep")

    def close(self) -> None:
        self.closed += 1
        self.kept = False
        self._called("close")

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.raises:
            raise self.raises[name]


class Threads:
    """Threads whose calls run when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def run(self, function: Callable[..., Any], *args: object) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        self.waiting.append((lambda: function(*args), result))
        return result

    def step(self) -> None:
        """Run the one call that waits, and deliver its result."""
        ((call, result),) = self.waiting
        self.waiting = []
        try:
            value = call()
        except SinkError:
            result.errback(Failure())
        else:
            result.callback(value)

    def all(self) -> None:
        while self.waiting:
            self.step()


class FeederTests(SynchronousTestCase):
    """`SinkFeeder`."""

    def setUp(self) -> None:
        self.body, self.sink, self.threads = Body(), Sink(), Threads()
        self.budget, self.wanted = MemoryBudget(), True
        self.feeder: SinkFeeder[bytes] = SinkFeeder(
            self.body, self.sink, self.threads.run, self.budget, lambda: self.wanted
        )
        self.results: list[Any] = []
        self.feeder.done.addBoth(self.results.append)

    def failure(self) -> BaseException:
        """:return: the error of the feeder; the sink is closed by then."""
        (result,) = self.results
        self.assertIsInstance(result, Failure)
        value: BaseException = result.value
        return value

    def test_leaves_while_it_is_prepared(self) -> None:
        """
        If the client disconnects during `prepare`, which a slow disk may delay, the sink is closed
        and not finished, so that the body is never visible.
        """

        def leave() -> None:
            self.feeder.failed(SinkError())

        self.sink.prepare = leave  # type: ignore[method-assign]
        self.feeder.received(b"x")
        self.feeder.finished()
        self.threads.all()
        self.assertIsInstance(self.failure(), SinkError)
        self.assertEqual(self.sink.calls, ["feed", "close"])

    def test_leaves_before_a_thread_is_free(self) -> None:
        """
        A body that fails before a thread is free is not written when a disk that hung responds
        again.
        """
        self.feeder.received(b"x")
        self.feeder.finished()
        self.feeder.failed(SinkError())
        self.threads.all()
        self.assertIsInstance(self.failure(), SinkError)
        self.assertEqual(self.sink.calls, ["close"])

    def test_no_thread(self) -> None:
        """
        If no thread can be used, the sink is closed all the same: no incomplete file stays open
        until the role is restarted.
        """

        def refuse(*_: object) -> Deferred[Any]:
            return fail(SinkError())

        self.feeder = SinkFeeder(self.body, self.sink, refuse, self.budget)
        self.feeder.done.addBoth(self.results.append)
        self.feeder.received(b"x")
        self.assertIsInstance(self.failure(), SinkError)
        self.assertEqual((self.sink.calls, self.sink.closed), (["close"], 1))

    def test_in_order(self) -> None:
        """Pieces are written in order, and before the end."""
        for piece in (b"one ", b"two ", b"three"):
            self.feeder.received(piece)
        self.feeder.finished()
        self.assertEqual((self.sink.calls, self.results), ([], []))
        self.threads.all()
        self.assertEqual(self.results, [b"one two three"])
        self.assertIs(self.sink.kept, True)
        # What came while a thread was busy is written by one call.
        self.assertEqual(self.sink.calls, ["feed", "feed", "finish", "keep"])

    def test_at_once(self) -> None:
        """The first bytes are written at once."""
        self.feeder.received(b"x")
        self.assertEqual(len(self.threads.waiting), 1)
        self.threads.step()
        self.assertEqual(self.sink.content, b"x")

    def test_empty(self) -> None:
        """An empty body is finished."""
        self.feeder.received(b"")
        self.feeder.finished()
        self.threads.all()
        self.assertEqual(self.sink.calls, ["finish", "keep"])
        self.assertEqual(self.results, [b""])

    def test_small(self) -> None:
        """A small body that has arrived completely is written in one visit to a thread."""
        self.body.all_seen = True
        self.feeder.received(b"one ")
        self.feeder.received(b"two")
        self.assertEqual(self.threads.waiting, [])
        self.feeder.finished()
        self.threads.step()
        self.assertEqual((self.results, self.threads.waiting), ([b"one two"], []))
        self.assertEqual(self.sink.calls, ["feed", "finish", "keep"])

    def test_small_fails(self) -> None:
        """A small body that could not be written is not published."""
        self.body.all_seen = True
        self.sink.raises["feed"] = SinkError()
        self.feeder.received(b"x")
        self.feeder.finished()
        self.threads.all()
        self.assertIsInstance(self.failure(), SinkError)
        self.assertEqual(self.sink.calls, ["feed", "close"])

    def test_tiny_pieces(self) -> None:
        """
        More than `MOST_PIECES` waiting pieces pause the body, whatever their size, because each of
        them has an overhead in memory.
        """
        self.feeder.received(b"x")
        for _ in range(MOST_PIECES - 1):
            self.feeder.received(b"x")
            self.assertFalse(self.body.paused)
        self.feeder.received(b"x")
        self.assertTrue(self.body.paused)
        self.threads.all()
        self.assertFalse(self.body.paused)
        self.assertEqual(self.sink.content, b"x" * (MOST_PIECES + 1))

    def test_told_when_it_is_settled(self) -> None:
        """Once the sink is kept, the result is set at once; a later disconnect has no effect."""
        self.feeder.finished()
        self.threads.step()
        self.assertEqual((self.sink.calls, self.results), (["finish", "keep"], [b""]))
        self.feeder.failed(ConnectionError())  # too late: the result is set
        self.feeder.done.cancel()
        self.assertEqual((self.threads.waiting, self.sink.kept), ([], True))

    def test_nobody_to_tell(self) -> None:
        """
        If the client has disconnected by the end, the sink is closed instead of kept, and the
        request ends after that.
        """
        self.feeder.finished()
        self.wanted = False
        self.threads.step()
        self.assertEqual(self.results, [])
        self.threads.step()
        self.assertIsInstance(self.failure(), ClientLeft)
        self.assertEqual((self.sink.calls, self.sink.kept), (["finish", "close"], False))

    def test_refusal_only_when_closed(self) -> None:
        """
        An error is reported after the sink is closed: until then the incomplete body fills the
        disk.
        """
        self.sink.raises["feed"] = SinkError()
        self.feeder.received(b"x")
        self.threads.step()
        self.assertEqual((self.sink.calls, self.results), (["feed"], []))
        self.threads.step()
        self.assertIsInstance(self.failure(), SinkError)

    def test_back_pressure(self) -> None:
        """A sink that is slower than the client pauses the body."""
        piece = b"x" * (PIECE // 4)
        self.feeder.received(piece)  # is being written
        for _ in range(3):
            self.feeder.received(piece)
            self.assertFalse(self.body.paused)
        self.feeder.received(piece)
        self.assertTrue(self.body.paused)
        self.threads.step()
        self.assertFalse(self.body.paused)
        self.assertEqual(len(self.sink.content), len(piece))
        self.threads.step()
        self.assertEqual(len(self.sink.content), 5 * len(piece))

    def test_many_bodies(self) -> None:
        """The more bodies there are, the sooner each of them is paused, and the less is read."""
        self.budget.change(63)
        self.feeder.received(b"x")
        self.assertEqual(self.body.read_size, PIECE // 4)
        self.feeder.received(b"x" * (PIECE // 4 - 1))
        self.assertFalse(self.body.paused)
        self.feeder.received(b"x")
        self.assertTrue(self.body.paused)

    def test_pieces_of_a_call(self) -> None:
        """Large pieces are not copied for a call; many small ones are joined."""
        for size, calls in ((SMALL_READ, 3), (SMALL_READ - 1, 1)):
            self.setUp()
            self.feeder.received(b"x")
            for _ in range(3):
                self.feeder.received(b"x" * size)
            self.threads.all()
            self.assertEqual(self.sink.calls, ["feed"] * (1 + calls), size)
            self.assertEqual(len(self.sink.content), 1 + 3 * size)

    def test_cancelled_between_pieces(self) -> None:
        """After a cancellation, the sink takes no further piece."""
        feed = self.sink.feed

        def fed(data: bytes) -> None:
            feed(data)
            self.feeder.done.cancel()

        for _ in range(3):
            self.feeder.received(b"x" * SMALL_READ)
        self.threads.step()
        self.sink.feed = fed  # type: ignore[method-assign]
        self.threads.all()
        self.assertEqual(self.sink.calls, ["feed", "feed", "close"])

    def test_large_pieces(self) -> None:
        """A large piece does not pause the body if a thread is idle."""
        self.feeder.received(b"x" * PIECE)
        self.assertFalse(self.body.paused)
        self.feeder.received(b"x" * PIECE)
        self.assertTrue(self.body.paused)

    def test_sink_fails(self) -> None:
        """
        If the sink fails, the feeder fails with that error, closes the sink and uses it no more.
        """
        for call in ("feed", "finish"):
            self.setUp()
            self.sink.raises[call] = SinkError(call)
            self.feeder.received(b"x")
            self.feeder.received(b"y" * PIECE)
            self.feeder.finished()
            self.threads.all()
            self.assertIsInstance(self.failure(), SinkError)
            self.assertEqual(self.sink.calls[-2:], [call, "close"])
            self.feeder.received(b"z")
            self.assertEqual(self.threads.waiting, [])

    def test_close_fails(self) -> None:
        """An error of `close` does not hide the first error."""
        self.sink.raises["close"] = SinkError("close")
        self.feeder.failed(ConnectionError())
        self.threads.all()
        self.assertIsInstance(self.failure(), ConnectionError)

    def test_body_fails(self) -> None:
        """
        If the client disconnects, the part that it has sent is discarded and the sink closed; what
        still waits for a thread is not written.
        """
        for fed in (0, 1, 2):
            self.setUp()
            left = ConnectionError("left")
            for number, data in enumerate((b"x", b"y")):
                self.feeder.received(data)
                if number < fed:
                    self.threads.step()
            self.feeder.failed(left)
            self.threads.all()
            self.assertIs(self.failure(), left)
            self.assertEqual(self.sink.calls, ["feed"] * fed + ["close"])

    def test_never_two_threads(self) -> None:
        """The sink is not closed while a thread writes to it, but once, after that."""
        for cancelled in (False, True):
            self.setUp()
            real = self.sink.feed

            def feed(
                data: bytes, real: Callable[[bytes], None] = real, cancelled: bool = cancelled
            ) -> None:
                if cancelled:
                    self.feeder.done.cancel()
                else:
                    self.feeder.failed(ConnectionError())
                self.assertEqual(self.threads.waiting, [])
                real(data)

            self.sink.feed = feed  # type: ignore[method-assign]
            self.feeder.received(b"x")
            self.threads.step()
            self.assertEqual(self.sink.calls, ["feed"])
            self.threads.step()
            self.assertEqual(self.sink.calls, ["feed", "close"])
            self.assertEqual(self.threads.waiting, [])
            self.assertIsInstance(self.failure(), CancelledError if cancelled else ConnectionError)

    def test_fails_while_finishing(self) -> None:
        """A disconnect or cancellation during `finish` closes the sink and discards its content."""
        for cancelled in (False, True):
            self.setUp()
            real = self.sink.finish

            def finish(real: Callable[[], bytes] = real, cancelled: bool = cancelled) -> bytes:
                if cancelled:
                    self.feeder.done.cancel()
                else:
                    self.feeder.failed(ConnectionError())
                return real()

            self.sink.finish = finish  # type: ignore[method-assign]
            self.feeder.finished()
            self.threads.all()
            self.assertEqual(self.sink.calls, ["finish", "close"])
            self.assertIsInstance(self.failure(), CancelledError if cancelled else ConnectionError)
            self.assertIs(self.sink.kept, False)

    def test_cancelled(self) -> None:
        """A cancelled request closes the sink once, and writes nothing more."""
        for fed in (False, True):
            self.setUp()
            if fed:
                self.feeder.received(b"x")
            self.feeder.done.cancel()
            self.assertIsInstance(self.failure(), CancelledError)
            self.feeder.received(b"y")
            self.feeder.finished()
            self.feeder.failed(ConnectionError())
            self.threads.all()
            self.assertEqual(self.sink.calls, ["close"])
            self.assertIs(self.sink.kept, False)
            self.assertEqual(len(self.results), 1)


class FeederMachine(RuleBasedStateMachine):
    """All orders of events."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.sink, self.threads = Body(), Sink(), Threads()
        self.budget, self.wanted = MemoryBudget(), True
        self.budget.change(63)
        self.size = self.budget.size
        self.feeder: SinkFeeder[bytes] = SinkFeeder(
            self.body, self.sink, self.threads.run, self.budget, lambda: self.wanted
        )
        assert self.budget.size < self.size
        self.sent, self.over, self.cancelled = b"", False, False
        self.results: list[Any] = []
        self.feeder.done.addBoth(self.results.append)

    @precondition(lambda self: not self.over)
    @rule(data=st.sampled_from([b"a", b"bc" * 1000, b"d" * PIECE]))
    def receive(self, data: bytes) -> None:
        """The client sends, unless it is paused."""
        if not self.body.paused:
            self.sent += data
            self.feeder.received(data)

    @precondition(lambda self: not self.over)
    @rule(whole=st.booleans())
    def end(self, whole: bool) -> None:
        """The body ends."""
        self.over = True
        if whole:
            self.feeder.finished()
        else:
            self.feeder.failed(ConnectionError())

    @precondition(lambda self: self.threads.waiting)
    @rule()
    def step(self) -> None:
        """A thread runs the call that waits."""
        self.threads.step()

    @precondition(lambda self: not self.cancelled)
    @rule()
    def cancel(self) -> None:
        """The request is cancelled."""
        self.cancelled = self.over = True
        self.feeder.done.cancel()

    @rule()
    def leave(self) -> None:
        """The client disconnects, which is noticed only when the feeder asks."""
        self.wanted = False

    @rule()
    def fail(self) -> None:
        """The disk is full from now on."""
        self.sink.raises["feed"] = SinkError()

    @invariant()
    def bounded(self) -> None:
        """
        At most one call waits, one result is set, and the content is the start of the sent bytes.
        """
        assert len(self.threads.waiting) <= 1
        assert len(self.results) <= 1
        assert self.sink.closed <= 1
        assert self.sent.startswith(self.sink.content)

    def teardown(self) -> None:
        """The feeder ends and has closed the sink once; it has kept the sink if it succeeded."""
        if not self.over:
            self.feeder.finished()
        self.threads.all()
        assert self.sink.closed == 1
        assert self.budget.size == self.size
        (result,) = self.results
        assert self.sink.kept is not isinstance(result, Failure)
        if not isinstance(result, Failure):
            assert result == self.sent


class AnyOrderTests(SynchronousTestCase):
    """`FeederMachine`."""

    def test_any_order(self) -> None:
        """No order of events loses bytes or leaves the sink open."""
        run_state_machine_as_test(
            FeederMachine,
            settings=settings(max_examples=60, stateful_step_count=20),
        )
