"""
The pool of connections, with fake connections and a fake clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg2
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry.postgres import pool as pool_module
from chatfiles.platform.registry.postgres.connection import PostgresError
from chatfiles.platform.registry.postgres.pool import READ_ONLY, RETRY_DELAY, PostgresPool

TIMEOUT = 2.0


class FakeConnection:
    """A connection that has no server."""

    def __init__(self) -> None:
        self.is_closed = False
        self.on_lost: Callable[[], None] = lambda: None

    @property
    def is_usable(self) -> bool:
        return not self.is_closed

    def discard(self) -> None:
        self.is_closed = True


class PoolTests(SynchronousTestCase):
    """
    A pool of two connections.

    :ivar attempts: the pending attempts to connect.
    :ivar running: the connection of each running call, a function that says whether the call is
        still wanted, and its Deferred.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.attempts: list[Deferred[Any]] = []
        self.running: list[tuple[FakeConnection, Callable[[], bool], Deferred[Any]]] = []
        self.outcomes: list[tuple[str, BaseException | None]] = []
        self.pool = PostgresPool(
            self.connect,
            clock=self.clock,
            size=2,
            timeout=TIMEOUT,
            outcome=lambda *outcome: self.outcomes.append(outcome),
        )
        self.pool.open()

    def connect(self) -> Deferred[Any]:
        self.attempts.append(Deferred())
        return self.attempts[-1]

    def connected(self) -> FakeConnection:
        """Let the oldest attempt to connect succeed."""
        connection = FakeConnection()
        self.attempts.pop(0).callback(connection)
        return connection

    def refused(self) -> None:
        """Let the oldest attempt to connect fail."""
        self.attempts.pop(0).errback(RegistryUnavailable())

    def call(self, *, may_repeat: bool = False) -> Deferred[Any]:
        def work(connection: Any, is_wanted: Callable[[], bool]) -> Deferred[Any]:
            self.running.append((connection, is_wanted, Deferred()))
            return self.running[-1][2]

        return self.pool.call("call", work, may_repeat=may_repeat)

    def finish(self, result: object = "done") -> None:
        """Let the oldest running call succeed."""
        self.running.pop(0)[2].callback(result)

    def fail_work(self, error: Exception, *, lost: bool = False) -> None:
        """Let the oldest running call fail."""
        connection, _, done = self.running.pop(0)
        connection.is_closed = lost
        done.errback(error)

    def end(self) -> None:
        """Assert that `close` ends everything."""
        self.successResultOf(self.pool.close())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.failureResultOf(self.call(), RegistryUnavailable)

    def test_shared(self) -> None:
        """No more connections are opened than allowed, and every waiting call is made."""
        calls = [self.call() for _ in range(5)]
        self.assertEqual(len(self.attempts), 2)
        first = self.connected()
        self.assertEqual(len(self.running), 1)
        self.connected()
        self.assertEqual(len(self.running), 2)
        for _ in calls:
            self.finish()
        self.assertEqual([self.successResultOf(call) for call in calls], ["done"] * 5)
        self.assertEqual(self.outcomes, [("call", None)] * 5)
        self.assertEqual(self.attempts, [])
        self.end()
        self.assertTrue(first.is_closed)

    def test_too_many(self) -> None:
        """The number of pending calls is limited: a server that hangs does not fill the memory."""
        self.patch(pool_module, "MAX_QUEUED", 3)
        self.setUp()
        calls = [self.call() for _ in range(3)]
        self.failureResultOf(self.call(), RegistryUnavailable)
        self.connected()
        calls.append(self.call())
        self.failureResultOf(self.call(), RegistryUnavailable)
        self.connected()
        for call in calls:
            self.finish()
            self.successResultOf(call)
        self.end()

    def test_unreachable(self) -> None:
        """
        If the server refuses connections, calls that waited for an attempt to connect fail at
        once, and the next attempt is made after `RETRY_DELAY`.
        """
        first, second = self.call(), self.call()
        self.refused()
        self.assertNoResult(first)
        self.refused()
        self.clock.advance(0)
        self.failureResultOf(first, RegistryUnavailable)
        self.failureResultOf(second, RegistryUnavailable)
        late = self.call()
        self.assertEqual(self.attempts, [])
        self.clock.advance(RETRY_DELAY)
        self.connected()
        self.finish()
        self.assertEqual(self.successResultOf(late), "done")
        self.end()

    def test_attempt_from_before(self) -> None:
        """
        A call does not fail by an attempt to connect that had begun before the call, such as one
        that the server's restart ended; it waits for the next attempt.
        """
        before = [self.call() for _ in range(2)]
        after = [self.call() for _ in range(100)]
        self.refused()
        self.refused()
        self.clock.advance(0)
        for call in before:
            self.failureResultOf(call, RegistryUnavailable)
        self.clock.advance(RETRY_DELAY)
        self.assertEqual(len(self.attempts), 2)
        self.refused()
        self.assertNoResult(after[0])
        self.refused()
        for _ in range(2):  # results are spread over turns
            self.clock.advance(0)
        for call in after:
            self.failureResultOf(call, RegistryUnavailable)
        self.end()

    def test_lost_while_reading(self) -> None:
        """A read whose connection was lost is repeated once."""
        read, waiting = self.call(may_repeat=True), self.call()
        self.connected()
        self.fail_work(psycopg2.OperationalError("lost"), lost=True)
        self.connected()
        self.connected()
        self.assertNoResult(read)
        self.finish()
        self.fail_work(psycopg2.OperationalError("lost again"), lost=True)
        self.assertEqual(self.successResultOf(waiting), "done")
        error = self.failureResultOf(read, RegistryUnavailable).value
        self.assertEqual(str(error.__cause__), "lost again")
        self.assertEqual([str(error) for _, error in self.outcomes[:1]], ["None"])
        self.end()

    def test_repeated_before_others(self) -> None:
        """A read whose connection was lost is repeated before the calls that wait."""
        read = self.call(may_repeat=True)
        self.connected()
        others = [self.call() for _ in range(10)]
        self.refused()
        self.fail_work(psycopg2.OperationalError("lost"), lost=True)
        self.clock.advance(RETRY_DELAY)
        self.connected()
        self.finish()
        self.finish()
        self.assertEqual(self.successResultOf(read), "done")
        self.assertNoResult(others[-1])
        for call in others:
            call.addErrback(lambda _: None)
            call.cancel()

    def test_lost_while_writing(self) -> None:
        """A change whose connection was lost is not repeated."""
        change = self.call()
        self.connected()
        self.fail_work(psycopg2.OperationalError("lost"), lost=True)
        self.failureResultOf(change, RegistryUnavailable)
        self.assertEqual(self.running, [])
        self.end()

    def test_read_only(self) -> None:
        """
        When a change finds a read-only server (a former primary), the idle connections are closed,
        and the change is made over a new one.
        """
        warm = [self.call(), self.call()]
        idle = [self.connected(), self.connected()]
        self.finish()
        self.finish()
        self.assertEqual([self.successResultOf(call) for call in warm], ["done"] * 2)
        change = self.call()
        self.fail_work(PostgresError("read-only", READ_ONLY))
        self.assertTrue(all(each.is_closed for each in idle))
        self.connected()
        self.finish()
        self.assertEqual(self.successResultOf(change), "done")
        self.end()

    def test_idle_connection_lost(self) -> None:
        """A connection that was lost while idle is not used."""
        for notify in (True, False):
            call = self.call()
            connection = self.connected()
            self.finish()
            self.successResultOf(call)
            connection.is_closed = True
            if notify:
                connection.on_lost()
        call = self.call()
        self.assertEqual(self.running, [])
        self.connected()
        self.finish()
        self.successResultOf(call)
        self.end()

    def test_timeout(self) -> None:
        """A call fails at its timeout, and a connection that hangs is closed."""
        hanging, waiting = self.call(), self.call()
        connection = self.connected()
        self.clock.advance(TIMEOUT)
        for call in (hanging, waiting):
            self.failureResultOf(call, RegistryUnavailable)
        texts = [str(error) for _, error in self.outcomes]
        self.assertEqual(texts, ["no response within 2 s", "no connection within 2 s"])
        self.clock.advance(0)
        self.assertTrue(connection.is_closed)
        self.fail_work(psycopg2.OperationalError("closed"), lost=True)
        self.assertEqual(len(self.outcomes), 2)
        self.connected()
        self.end()

    def test_cancelled(self) -> None:
        """
        A cancelled call is not made if it waits. If it runs, its change is not committed, and its
        connection is closed at the timeout.
        """
        running = self.call()
        connection = self.connected()
        waiting = [self.call() for _ in range(2)]
        for call in (running, *waiting):
            call.cancel()
            self.failureResultOf(call, CancelledError)
        _, is_wanted, _ = self.running[0]
        self.assertFalse(is_wanted())
        self.clock.advance(TIMEOUT - 0.1)
        self.assertFalse(connection.is_closed)
        self.clock.advance(0.1)
        self.assertTrue(connection.is_closed)
        self.fail_work(psycopg2.OperationalError("closed"), lost=True)
        self.assertEqual((self.running, self.outcomes), ([], []))
        self.refused()
        self.end()

    def test_cancelled_before_a_repetition(self) -> None:
        """A read that is cancelled after its connection was lost is not repeated."""
        read = self.call(may_repeat=True)
        self.connected()
        self.fail_work(psycopg2.OperationalError("lost"), lost=True)
        read.cancel()
        self.failureResultOf(read, CancelledError)
        self.connected()
        self.assertEqual(self.running, [])
        self.end()

    def test_closed_while_busy(self) -> None:
        """`close` waits for running and waiting calls."""
        calls = [self.call(), self.call()]
        self.connected()
        self.refused()
        closed = [self.pool.close(), self.pool.close()]
        self.failureResultOf(self.call(), RegistryUnavailable)
        self.finish()
        self.assertNoResult(closed[0])
        self.finish()
        for call in calls:
            self.assertEqual(self.successResultOf(call), "done")
        for each in closed:
            self.successResultOf(each)
        self.end()
