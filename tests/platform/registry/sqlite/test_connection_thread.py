"""
The thread that makes blocking calls.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.trial.unittest import TestCase

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry.sqlite import connection_thread
from chatfiles.platform.registry.sqlite.connection_thread import ConnectionThread
from tests.platform.registry.sqlite.sqlite_case import ThreadedClock
from tests.support.patience import PATIENCE


class FakeConnection:
    """
    A connection that has no database.

    :ivar closed_in: the name of the thread that closed it.
    """

    closed_in: str | None = None

    def use(self, work: Callable[[Any], Any]) -> Any:
        return work(None)

    def close(self) -> None:
        self.closed_in = threading.current_thread().name


class ConnectionThreadTests(TestCase):
    """Timeouts of calls that cannot be stopped."""

    def setUp(self) -> None:
        self.clock = ThreadedClock()
        self.outcomes: list[tuple[str, BaseException | None]] = []
        self.connection = FakeConnection()
        self.thread = ConnectionThread(
            "test",
            self.connection,
            clock=self.clock,
            timeout=2,
            outcome=lambda *outcome: self.outcomes.append(outcome),
        )
        self.running, self.go_on = threading.Event(), threading.Event()
        self.addCleanup(self.go_on.set)

    async def tearDown(self) -> None:  # type: ignore[override]
        self.go_on.set()
        await self.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def close(self) -> Deferred[None]:
        return self.thread.close()

    def call(
        self, work: Callable[[], object], discard: Callable[[object], None] | None = None
    ) -> Deferred[object]:
        return self.thread.call("call", lambda _: work(), discard=discard)

    def block(self, discard: Callable[[object], None] | None = None) -> Deferred[object]:
        """:return: a running call, which ends when `go_on` is set."""

        def work() -> str:
            self.running.set()
            self.go_on.wait(PATIENCE)
            return "late"

        call = self.call(work, discard)
        self.running.wait(PATIENCE)
        return call

    async def test_result(self) -> None:
        """
        The result or error of a call is delivered, and a result that is wanted is not discarded.
        """
        self.thread.start()
        seen: list[object] = []
        call = self.call(lambda: 7, seen.append)
        self.assertEqual(await call, 7)
        with self.assertRaises(ZeroDivisionError):
            await self.call(lambda: 1 // 0, seen.append)
        self.assertIsNone(await self.call(lambda: None))
        self.assertEqual(seen, [])
        kinds = [(what, type(error)) for what, error in self.outcomes]
        self.assertEqual(
            kinds, [("call", type(None)), ("call", ZeroDivisionError), ("call", type(None))]
        )

    async def test_order(self) -> None:
        """Calls are made in the order in which they were requested."""
        self.thread.start()
        made: list[int] = []
        await gatherResults([self.call(partial(made.append, n)) for n in range(100)])
        self.assertEqual(made, list(range(100)))

    async def test_late_result(self) -> None:
        """The result of a call that has timed out is discarded, and the next call succeeds."""
        self.thread.start()
        seen: list[object] = []
        call = self.block(seen.append)
        self.clock.advance(2)
        self.failureResultOf(call, RegistryUnavailable)
        self.go_on.set()
        self.assertEqual(await self.call(lambda: "next"), "next")
        self.assertEqual(seen, ["late"])

    async def test_what_nobody_waits_for_is_not_done(self) -> None:
        """
        A queued call that has timed out or was cancelled is not made: after an outage, changes
        whose clients have received a 503 are not made.
        """
        self.thread.start()
        made: list[str] = []
        blocked = self.block()
        slow = self.call(lambda: made.append("slow"), lambda _: made.append("discarded"))
        left = self.call(lambda: made.append("left"))
        left.cancel()
        self.failureResultOf(left, CancelledError)
        self.clock.advance(2)
        for call in (blocked, slow):
            self.failureResultOf(call, RegistryUnavailable)
        self.go_on.set()
        await self.call(lambda: made.append("next"))
        self.assertEqual(made, ["next"])

    async def test_cancel_while_it_is_made(self) -> None:
        """A running call can be cancelled, and the next call succeeds."""
        self.thread.start()
        call = self.block()
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.go_on.set()
        self.assertEqual(await self.call(lambda: "next"), "next")

    async def test_too_many(self) -> None:
        """
        The number of pending calls is limited, so that a disk that hangs does not fill the memory;
        there is room again when they have ended.
        """
        self.patch(connection_thread, "MAX_CALLS", 2)
        self.setUp()
        self.thread.start()
        blocked = self.block()
        waiting = self.call(lambda: "waited")
        self.failureResultOf(self.call(lambda: "too many"), RegistryUnavailable)
        self.go_on.set()
        self.assertEqual(await gatherResults([blocked, waiting]), ["late", "waited"])
        self.assertEqual(await self.call(lambda: "next"), "next")

    async def test_not_started_or_closed(self) -> None:
        """A call fails at once if the thread has not been started, or was closed."""
        self.failureResultOf(self.call(lambda: None), RegistryUnavailable)
        self.thread.start()
        await self.close()
        self.failureResultOf(self.call(lambda: None), RegistryUnavailable)
        self.thread.start()
        self.failureResultOf(self.call(lambda: None), RegistryUnavailable)

    def test_close_unstarted(self) -> None:
        """`close` succeeds if the thread was never started."""
        self.successResultOf(self.close())
        self.successResultOf(self.close())

    async def test_close_in_order(self) -> None:
        """`close` waits for pending calls, and then closes the connection in the thread."""
        self.thread.start()
        made: list[object] = []
        blocked = self.block()
        waiting = self.call(lambda: made.append("waiting"))
        closed = self.close()
        self.assertNoResult(closed)
        self.assertIsNone(self.connection.closed_in)
        self.go_on.set()
        await closed
        self.successResultOf(blocked)
        self.successResultOf(waiting)
        self.assertEqual((made, self.connection.closed_in), (["waiting"], "test"))

    async def test_close_while_a_call_hangs(self) -> None:
        """`close` times out while a call hangs, so that the process can exit."""
        self.thread.start()
        blocked = self.block()
        closed, again = self.close(), self.close()
        self.clock.advance(2)
        self.failureResultOf(blocked, RegistryUnavailable)
        self.assertNoResult(closed)
        self.clock.advance(2)
        self.successResultOf(closed)
        self.successResultOf(again)
        self.successResultOf(self.close())
        self.assertEqual([what for what, _ in self.outcomes], ["call", "close"])
