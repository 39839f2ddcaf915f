"""
A SQLite connection and the thread that uses it.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry.outage_log import Outcome
from chatfiles.runtime.call_queue import Call, CallQueue, Limits

__all__ = ["BlockingConnection", "ConnectionThread", "ReactorClock"]

#: Calls that wait for the thread or run in it; one more is refused immediately.
MAX_CALLS = 10_000

T = TypeVar("T")


class ReactorClock(Protocol):
    """A reactor with ``IReactorTime`` and ``IReactorFromThreads``."""

    def seconds(self) -> float:
        """:return: the time on its clock."""

    def callLater(
        self, delay: float, work: Callable[..., object], /, *args: object
    ) -> IDelayedCall:
        """Call *work* on the reactor thread after *delay* seconds."""

    def callFromThread(self, work: Callable[..., object], /, *args: object) -> None:
        """Call *work* on the reactor thread soon.  Any thread may call this."""


class BlockingConnection(Protocol):
    """A connection that is used in one thread only; see `sqlite.file.Connection`."""

    def use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """:return: what *work* returns."""

    def close(self) -> None:
        """Close it; never fails."""


class _Work(NamedTuple):
    function: Callable[[sqlite3.Connection], Any]
    timeout: float


class ConnectionThread:
    """
    Runs calls on one connection, in order, on its own thread.  Other connections to the same file
    do not wait for these calls.

    The thread is not one of a pool, because a call that hangs in the kernel must not keep the
    process from ending, and because one queue is the cheapest way to wake one thread.

    All methods are called on the reactor thread.

    :param name: the name of the thread.
    :param connection: used in the thread only.
    :param clock: the reactor.
    :param timeout: seconds that a call may take, including its wait for the thread.
    :param outcome: called with the result of each call that ran, and with each timeout.
    """

    def __init__(
        self,
        name: str,
        connection: BlockingConnection,
        *,
        clock: ReactorClock,
        timeout: float,
        outcome: Outcome,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._timeout = timeout
        self._outcome = outcome
        self._for_thread: queue.SimpleQueue[Call[Any] | None] = queue.SimpleQueue()
        # For the queue, a call starts when it is put into the thread's queue, not when the thread
        # runs it.  So the thread need not wait for the reactor between two calls.
        self._queue = CallQueue(
            self._for_thread.put,
            cast("IReactorTime", clock),
            Limits(running=MAX_CALLS, queued=0),
            refusal=RegistryUnavailable,
            when_expired=self._expired,
        )
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._is_open = self._has_ended = False
        self._closers: list[Deferred[None]] = []
        self._close_deadline: IDelayedCall | None = None

    def start(self) -> None:
        """Begin to accept calls; does nothing the second time, or once closed."""
        if self._thread.ident is None and not self._has_ended:
            self._is_open = True
            self._thread.start()

    def call(
        self,
        what: str,
        work: Callable[[sqlite3.Connection], T],
        *,
        timeout: float | None = None,
        discard: Callable[[T], object] | None = None,
    ) -> Deferred[T]:
        """
        Call *work* with the connection in the thread, after all earlier calls.

        A call that is cancelled or times out before the thread starts it never runs.  A running
        call cannot be stopped: its result is discarded.

        :param what: the name of the call in the log.
        :param work: called in the thread with the connection.
        :param timeout: seconds that the call may take, if not those of the thread.
        :param discard: called on the reactor thread with a result that no one waits for.
        :return: what *work* returns.  Fails with `RegistryUnavailable` when the call times out,
            when the thread is not open, or when too many calls wait.
        """
        if not self._is_open:
            return fail(RegistryUnavailable())
        seconds = self._timeout if timeout is None else timeout
        return self._queue.submit(
            _Work(work, seconds), label=what, timeout=seconds, discard=discard
        )

    def close(self) -> Deferred[None]:
        """
        Refuse new calls, finish those that wait, close the connection and end the thread.
        Idempotent; never fails.

        :return: fires when the thread has ended, or when it still hangs after twice the timeout.
        """
        closed: Deferred[None] = Deferred()
        self._closers.append(closed)
        if self._is_open:
            self._is_open = False
            self._for_thread.put(None)
            self._close_deadline = self._clock.callLater(2 * self._timeout, self._close_expired)
        elif self._has_ended or self._thread.ident is None:
            self._end()
        return closed

    # In the thread

    def _run(self) -> None:
        while (call := self._for_thread.get()) is not None:
            if call.is_wanted:
                self._clock.callFromThread(self._finish, call, *self._execute(call.work))
            else:
                self._clock.callFromThread(call.finish, _NEVER_RAN)
        self._connection.close()
        self._clock.callFromThread(self._end)

    def _execute(self, work: _Work) -> tuple[Any, BaseException | None]:
        try:
            return self._connection.use(work.function), None
        except BaseException as error:
            return None, error

    # On the reactor thread

    def _finish(self, call: Call[Any], result: Any, error: BaseException | None) -> None:
        self._outcome(call.label, error)
        call.finish(result if error is None else Failure(error))

    def _expired(self, call: Call[Any]) -> TimeoutError:
        late = TimeoutError(f"no response within {call.work.timeout:g} s")
        self._outcome(call.label, late)
        return late

    def _close_expired(self) -> None:
        seconds = 2 * self._timeout
        self._outcome("close", TimeoutError(f"a call still hangs after {seconds:g} s"))
        self._end()

    def _end(self) -> None:
        self._has_ended = True
        if self._close_deadline is not None and self._close_deadline.active():
            self._close_deadline.cancel()
        closers, self._closers = self._closers, []
        for closed in closers:
            closed.callback(None)


#: The result of a call that was given up before the thread started it.
_NEVER_RAN = Failure(CancelledError())
