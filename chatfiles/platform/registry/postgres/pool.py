"""
A few connections to PostgreSQL, shared by many calls.

The pool of txpostgres cannot be used: it does not start without the server, and continues to
provide dead connections.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry.outage_log import Outcome
from chatfiles.platform.registry.postgres.connection import (
    CONNECTION_ERRORS,
    PostgresConnection,
    PostgresError,
    sanitized_error,
)
from chatfiles.runtime.call_queue import Call, CallQueue, CallState, Limits

__all__ = ["PostgresPool", "Work"]

#: Calls that may wait for a connection; one more is refused immediately.
MAX_QUEUED = 1000
#: Seconds between two attempts to connect while there is no connection.
RETRY_DELAY = 0.1
#: SQLSTATE of a write in a read-only session: the server may have become a standby.
READ_ONLY = "25006"

T = TypeVar("T")
#: Uses a connection, alone.  The second argument returns whether a client still waits for the
#: result.
Work = Callable[[PostgresConnection, Callable[[], bool]], Deferred[T]]


class _Attempt(NamedTuple):
    """The first or second attempt at a call."""

    work: Work[Any]
    deadline: float
    may_repeat: bool
    number: int  # in the order of submission


class _Repeat(Exception):
    """The connection was lost, or cannot write: the call is attempted again on another one."""


class PostgresPool:
    """
    Connects when there is work, and closes broken connections.

    While the server cannot be reached, calls fail as soon as the next attempt to connect has
    failed.  An attempt that began before the call does not count: perhaps it met the fault that is
    over now.  A connection that does not respond within the timeout of a call is closed, and the
    idle connections with it.

    :param connect: opens a connection; fails with `RegistryUnavailable`.
    :param clock: the reactor.
    :param size: the greatest number of connections.
    :param timeout: seconds that a call may take, including its wait for a connection.
    :param outcome: called with the outcome of each call and of each failed attempt to connect.
    """

    def __init__(
        self,
        connect: Callable[[], Deferred[PostgresConnection]],
        *,
        clock: IReactorTime,
        size: int,
        timeout: float,
        outcome: Outcome,
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._size = size
        self._timeout = timeout
        self._outcome = outcome
        # As many calls may run as there are connections.
        self._queue = CallQueue(
            self._run,
            clock,
            Limits(running=0, queued=MAX_QUEUED),
            refusal=RegistryUnavailable,
            when_expired=self._expired,
        )
        self._idle: list[PostgresConnection] = []
        self._busy: set[PostgresConnection] = set()
        self._connecting = 0
        #: The number of the last call, and of the last one before the latest attempt to connect.
        self._last_number = self._last_before_attempt = 0
        self._not_before = 0.0
        self._retry: IDelayedCall | None = None
        self._is_open = self._is_settled = False
        self._closers: list[Deferred[None]] = []

    def open(self) -> None:
        """Begin to accept calls."""
        self._is_open = True

    def call(self, what: str, work: Work[T], *, may_repeat: bool) -> Deferred[T]:
        """
        Run *work* with a connection, in turn.

        :param what: the name of the call in the log.
        :param may_repeat: whether to run *work* once more on another connection if the first one is
            lost; for work that only reads.
        :return: the result of *work*.  Fails with `RegistryUnavailable` when the call times out,
            when the server cannot be reached or fails, or when too many calls wait.
        """
        if not self._is_open:
            return fail(RegistryUnavailable())
        attempt = _Attempt(work, self._clock.seconds() + self._timeout, may_repeat, 0)
        return self._submit(what, attempt, is_first=True).addErrback(self._repeat, what, attempt)

    def close(self) -> Deferred[None]:
        """Refuse new calls, finish the others, and close all connections; idempotent."""
        self._is_open = False
        closed: Deferred[None] = Deferred()
        self._closers.append(closed)
        self._queue.settled().addCallback(self._settled)
        return closed

    # Calls

    def _submit(self, what: str, attempt: _Attempt, *, is_first: bool) -> Deferred[Any]:
        self._drop_unusable()
        self._last_number += 1
        result: Deferred[Any] = self._queue.submit(
            attempt._replace(number=self._last_number),
            owner=None if is_first else _Repeat,  # need not wait for all first attempts
            label=what,
            timeout=max(attempt.deadline - self._clock.seconds(), 0),
            refusable=is_first,
        )
        self._connect_if_needed()
        return result

    def _repeat(self, failure: Failure, what: str, attempt: _Attempt) -> Deferred[Any]:
        failure.trap(_Repeat)
        return self._submit(what, attempt._replace(may_repeat=False), is_first=False)

    def _run(self, call: Call[Any]) -> None:
        connection = self._idle.pop()
        self._busy.add(connection)
        started = self._clock.seconds()
        hang: list[IDelayedCall] = []

        def orphaned() -> None:
            # The call may use the connection for as long as if its client still waited.
            left = max(started + self._timeout - self._clock.seconds(), 0)
            hang.append(self._clock.callLater(left, self._hangs, connection))

        def done(result: object) -> None:
            for timer in hang:
                if timer.active():
                    timer.cancel()
            self._done(call, connection, result)

        call.on_orphaned = orphaned
        call.work.work(connection, lambda: call.is_wanted).addBoth(done)

    def _done(self, call: Call[Any], connection: PostgresConnection, result: object) -> None:
        self._busy.discard(connection)
        error = _error(result)
        is_read_only = isinstance(error, PostgresError) and error.sqlstate == READ_ONLY
        repeat = is_read_only or (connection.is_closed and call.work.may_repeat)
        if is_read_only:  # the server may be read-write again for a new connection
            self._drop_idle()
            connection.discard()
        if connection.is_usable:
            self._idle.append(connection)
        else:
            connection.discard()
        self._resize()
        if error is not None and repeat and call.is_wanted and call.owner is None:
            call.finish(Failure(_Repeat()))
        else:
            call.finish(self._logged(call, result, error))
        self._connect_if_needed()

    def _logged(self, call: Call[Any], result: object, error: BaseException | None) -> Any:
        """
        Log the outcome of a call, unless it was given up.

        :return: the result of the call.
        """
        if isinstance(error, PostgresError):
            unavailable = RegistryUnavailable()
            unavailable.__cause__ = error
            result, error = Failure(unavailable), unavailable
        if call.is_wanted:
            self._outcome(call.label, error)
        return result

    def _expired(self, call: Call[Any]) -> TimeoutError:
        missing = "connection" if call.state is CallState.ABANDONED else "response"
        late = TimeoutError(f"no {missing} within {self._timeout:g} s")
        self._outcome(call.label, late)
        return late

    def _hangs(self, connection: PostgresConnection) -> None:
        self._drop_idle()
        self._resize()
        connection.discard()

    # Connections

    def _resize(self) -> None:
        self._queue.resize(len(self._idle) + len(self._busy))

    def _connect_if_needed(self) -> None:
        used = len(self._idle) + len(self._busy) + self._connecting
        wanted = min(self._queue.queued - self._connecting, self._size - used)
        wait = self._not_before - self._clock.seconds()
        if wanted > 0 and wait > 0:
            if self._retry is None or not self._retry.active():
                self._retry = self._clock.callLater(wait, self._connect_if_needed)
            return
        for _ in range(wanted):
            self._connecting += 1
            self._last_before_attempt = self._last_number
            self._connect().addCallbacks(self._connected, self._not_connected)

    def _connected(self, connection: PostgresConnection) -> None:
        self._connecting -= 1
        self._not_before = 0.0
        connection.on_lost = lambda: self._lost(connection)
        self._idle.append(connection)
        self._resize()
        self._connect_if_needed()
        self._close_if_done()

    def _not_connected(self, failure: Failure) -> None:
        self._connecting -= 1
        self._not_before = self._clock.seconds() + RETRY_DELAY
        error = failure.value or RegistryUnavailable()
        self._outcome("connect", error)
        if not (self._busy or self._idle or self._connecting):
            last = self._last_before_attempt
            self._queue.fail_queued(error, lambda call: call.work.number <= last)
        self._connect_if_needed()
        self._close_if_done()

    def _lost(self, connection: PostgresConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
            self._resize()

    def _drop_unusable(self) -> None:
        """The next call uses the last of the idle connections."""
        while self._idle and not self._idle[-1].is_usable:
            self._idle.pop().discard()
        self._resize()

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().discard()

    def _settled(self, _: object) -> None:
        self._is_settled = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._connecting or not self._is_settled:
            return
        self._drop_idle()
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        closers, self._closers = self._closers, []
        for closed in closers:
            closed.callback(None)


def _error(result: object) -> BaseException | None:
    if not isinstance(result, Failure):
        return None
    error = result.value
    return sanitized_error(error) if isinstance(error, CONNECTION_ERRORS) else error
