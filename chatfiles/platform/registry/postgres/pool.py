"""
A few connections to PostgreSQL, shared by many calls.

txpostgres has a pool of its own, which does not start without the server and goes on to hand out
connections that are dead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry.outage_log import Outcome
from chatfiles.platform.registry.postgres.call import Call, StaggeredFailures, Work
from chatfiles.platform.registry.postgres.connection import (
    LINK_ERRORS,
    PostgresConnection,
    PostgresError,
    described,
)

__all__ = ["PostgresPool"]

#: Calls that may wait for a connection; one more is refused at once.
MAX_WAITING = 1000
#: Seconds between two attempts to connect while there is no connection.
PAUSE = 0.1
#: The server does not let a session write: it may be the standby of another one by now.
READ_ONLY = "25006"

T = TypeVar("T")


class PostgresPool:
    """
    Connects when there is work, and gives up what is broken.

    While the server cannot be reached, calls fail as soon as the next attempt to connect has.  A
    connection that does not answer within a call's deadline is given up, and the idle ones with it.

    :param dial: connects; fails with `RegistryUnavailable`.
    :param size: connections at most.
    :param timeout: seconds in which a call is answered.
    :param outcome: told how each call, and each attempt to connect, ended.
    """

    def __init__(
        self,
        dial: Callable[[], Deferred[PostgresConnection]],
        *,
        clock: IReactorTime,
        size: int,
        timeout: float,
        outcome: Outcome,
    ) -> None:
        self._dial = dial
        self._clock = clock
        self._size = size
        self._timeout = timeout
        self._outcome = outcome
        self._open = False
        self._waiting: deque[Call[Any]] = deque()
        self._idle: list[PostgresConnection] = []
        self._busy: set[PostgresConnection] = set()
        self._dialing = 0
        self._not_before = 0.0
        self._pause: IDelayedCall | None = None
        self._turns = StaggeredFailures(clock, self._end_if_done)
        self._closers: list[Deferred[None]] = []

    def open(self) -> None:
        """Begin to take calls."""
        self._open = True

    def call(self, what: str, work: Work[T], *, again: bool) -> Deferred[T]:
        """
        Let *work* have a connection, in turn.

        :param what: the call's name in the log.
        :param again: if the connection breaks, do it once more on another one; for what only reads.
        :return: what *work* gives; fails with `RegistryUnavailable` when the deadline passes, when
            the server cannot be reached or fails, or when too many are waiting.
        """
        if not self._open or len(self._waiting) >= MAX_WAITING:
            return fail(RegistryUnavailable())
        call = Call(what, work, again=again)
        call.left = self._leaves
        call.deadline = self._clock.callLater(self._timeout, self._too_slow, call)
        self._waiting.append(call)
        self._serve()
        return call.answer

    def close(self) -> Deferred[None]:
        """Take no more calls, and end all connections when those that wait are done; idempotent."""
        self._open = False
        closed: Deferred[None] = Deferred()
        self._closers.append(closed)
        self._end_if_done()
        return closed

    # Work and connections find each other

    def _serve(self) -> None:
        while self._waiting and self._idle:
            link = self._idle.pop()
            if link.usable:
                self._run(link, self._waiting.popleft())
            else:
                link.discard()
        used = len(self._idle) + len(self._busy) + self._dialing
        wanted = min(len(self._waiting) - self._dialing, self._size - used)
        if wanted > 0:
            self._connect(wanted)
        self._end_if_done()

    def _run(self, link: PostgresConnection, call: Call[Any]) -> None:
        self._busy.add(link)
        call.link = link
        call.started = self._clock.seconds()
        call.work(link, call).addBoth(self._done, link, call)

    def _done(self, result: object, link: PostgresConnection, call: Call[Any]) -> None:
        self._busy.discard(link)
        call.link = None
        if call.hang is not None and call.hang.active():
            call.hang.cancel()
        error = _error(result)
        retry = link.over and call.again
        if isinstance(error, PostgresError) and error.sqlstate == READ_ONLY:
            retry = True  # nothing has been done, and a new connection may be let
            self._drop_idle()
            link.discard()
        if link.usable:
            self._idle.append(link)
        else:
            link.discard()
        if error is not None and retry and not (call.retried or call.abandoned):
            call.retried = True
            self._waiting.appendleft(call)
        else:
            self._finish(call, result, error)
        self._serve()

    def _finish(self, call: Call[Any], result: object, error: BaseException | None) -> None:
        if isinstance(error, PostgresError):
            unavailable = RegistryUnavailable()
            unavailable.__cause__ = error
            result, error = Failure(unavailable), unavailable
        if call.abandoned:
            return
        self._outcome(call.what, error)
        call.deadline.cancel()
        call.answer.callback(result)

    # Connections come and go

    def _connect(self, count: int) -> None:
        wait = self._not_before - self._clock.seconds()
        if wait > 0:
            if self._pause is None or not self._pause.active():
                self._pause = self._clock.callLater(wait, self._serve)
            return
        for _ in range(count):
            self._dialing += 1
            self._dial().addCallbacks(self._connected, self._not_connected)

    def _connected(self, link: PostgresConnection) -> None:
        self._dialing -= 1
        self._not_before = 0.0
        link.lost = lambda: self._lost(link)
        self._idle.append(link)
        self._serve()

    def _not_connected(self, failure: Failure) -> None:
        self._dialing -= 1
        self._not_before = self._clock.seconds() + PAUSE
        error = failure.value or RegistryUnavailable()
        self._outcome("connect", error)
        if not (self._busy or self._idle or self._dialing):
            waiting, self._waiting = self._waiting, deque()
            for call in waiting:
                call.deadline.cancel()
                self._turns.fail(call, error)
        self._serve()

    def _lost(self, link: PostgresConnection) -> None:
        if link in self._idle:
            self._idle.remove(link)

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().discard()

    # Those who wait no more

    def _leaves(self, call: Call[Any]) -> None:
        if call.link is None:
            self._waiting.remove(call)
            self._end_if_done()
        else:
            self._watch(call)

    def _too_slow(self, call: Call[Any]) -> None:
        where = "connection" if call.link is None else "answer"
        self._outcome(call.what, TimeoutError(f"no {where} within {self._timeout:g} s"))
        self._turns.fail(call, RegistryUnavailable())
        self._leaves(call)

    def _watch(self, call: Call[Any]) -> None:
        """Give the connection up too when the call has had it for as long as it may."""
        left = call.started + self._timeout - self._clock.seconds()
        call.hang = self._clock.callLater(max(left, 0), self._hangs, call.link)

    def _hangs(self, link: PostgresConnection) -> None:
        self._drop_idle()
        link.discard()

    def _end_if_done(self) -> None:
        if self._open or self._waiting or self._turns or self._busy or self._dialing:
            return
        self._drop_idle()
        if self._pause is not None and self._pause.active():
            self._pause.cancel()
        closers, self._closers = self._closers, []
        for closed in closers:
            closed.callback(None)


def _error(result: object) -> BaseException | None:
    if not isinstance(result, Failure):
        return None
    error = result.value
    return described(error) if isinstance(error, LINK_ERRORS) else error
