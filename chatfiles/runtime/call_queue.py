"""
A call waits for a scarce worker: a thread, a connection, a place in a pool.

A call belongs to an owner, such as a root, a workspace or a database.  Owners take turns, and each
has a limited number of calls running, so that an owner whose calls hang cannot take every worker.
Everything here runs on the reactor's thread; the workers are the business of the caller.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, Generic, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from chatfiles.errors import Unavailable

__all__ = ["TRANSITIONS", "Call", "CallEvent", "CallQueue", "CallState", "Limits", "SpreadResults"]

T = TypeVar("T")

#: Deferreds that are fired in one turn of the reactor when many become due together.
PER_TURN: Final = 50


class CallState(Enum):
    """Where a call is."""

    QUEUED = auto()  # waits for a worker
    RUNNING = auto()  # has a worker
    DONE = auto()  # its result was delivered
    ABANDONED = auto()  # given up before it began: it never runs
    ORPHANED = auto()  # given up while it runs: it keeps its worker until it returns
    DISCARDED = auto()  # has returned, and its result was discarded


class CallEvent(Enum):
    """What happens to a call."""

    START = auto()  # a worker is free
    FINISH = auto()  # the worker has returned
    GIVE_UP = auto()  # it was cancelled, its deadline passed, or the queue was emptied


#: All that can happen.  What is not here is a defect of the caller and raises `KeyError`.
TRANSITIONS: Final[Mapping[tuple[CallState, CallEvent], CallState]] = {
    (CallState.QUEUED, CallEvent.START): CallState.RUNNING,
    (CallState.QUEUED, CallEvent.GIVE_UP): CallState.ABANDONED,
    (CallState.RUNNING, CallEvent.FINISH): CallState.DONE,
    (CallState.RUNNING, CallEvent.GIVE_UP): CallState.ORPHANED,
    (CallState.ORPHANED, CallEvent.FINISH): CallState.DISCARDED,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """
    How many calls there may be.

    :param running: calls that have a worker, those that were given up meanwhile included.
    :param running_per_owner: as *running*, of one owner; ``None`` for no limit of its own.
    :param queued: calls that wait for a worker.
    :param queued_per_owner: as *queued*, of one owner; ``None`` for no limit of its own.
    """

    running: int
    running_per_owner: int | None = None
    queued: int = 10_000
    queued_per_owner: int | None = None


class Call(Generic[T]):
    """
    One call; made by `CallQueue.submit`, and given to a worker.

    :ivar work: what the worker is to do.
    :ivar owner: whose call it is; ``None`` for a call that no limit per owner concerns.
    :ivar label: its name in the log.
    :ivar state: where it is.  Another thread may read it.
    :ivar on_orphaned: called once if the call is given up while it runs; for the worker to set.
    """

    __slots__ = (
        "_deadline",
        "_discard",
        "_queue",
        "deferred",
        "label",
        "on_orphaned",
        "owner",
        "state",
        "work",
    )

    def __init__(
        self,
        queue: CallQueue,
        work: Any,
        owner: Hashable,
        label: str,
        discard: Callable[[T], object] | None,
    ) -> None:
        self.work = work
        self.owner = owner
        self.label = label
        self.state = CallState.QUEUED
        self.on_orphaned: Callable[[], object] | None = None
        self.deferred: Deferred[T] = Deferred(self._cancelled)
        self._queue = queue
        self._discard = discard
        self._deadline: IDelayedCall | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether somebody still waits for the result."""
        return self.state in (CallState.QUEUED, CallState.RUNNING)

    def finish(self, result: T | Failure) -> None:
        """
        The worker has returned, and is free.  To be called once, on the reactor's thread.

        :param result: what *work* gave.
        """
        self.move(CallEvent.FINISH)
        self._queue.release(self)
        self._stop_deadline()
        if self.state is CallState.DONE:
            self.deferred.callback(result)
        elif self._discard is not None and not isinstance(result, Failure):
            with Logger().failuresHandled("the result of a call could not be discarded"):
                self._discard(result)
        self._queue.serve()

    def move(self, event: CallEvent) -> None:
        """:raise KeyError: *event* cannot happen in this state."""
        self.state = TRANSITIONS[self.state, event]

    def give_up(self) -> None:
        """Nobody waits for the result any more: do not begin, or discard what it will give."""
        self.move(CallEvent.GIVE_UP)
        self._stop_deadline()
        if self.state is CallState.ABANDONED:
            self._queue.drop(self)
        elif self.on_orphaned is not None:
            self.on_orphaned()

    def expire_after(self, timeout: float, clock: IReactorTime) -> None:
        """:param timeout: seconds from now after which the call is given up."""
        self._deadline = clock.callLater(timeout, self._expire)

    def _expire(self) -> None:
        self.give_up()
        self._queue.expired(self)

    def _cancelled(self, _: Deferred[T]) -> None:
        if self.is_wanted:
            self.give_up()
            self._queue.check_settled()

    def _stop_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()


class SpreadResults:
    """
    Fires Deferreds: in one turn of the reactor at most `PER_TURN`, the others in the next turns.

    A thousand clients that are answered in one turn hold up everything else meanwhile.
    """

    def __init__(
        self, clock: IReactorTime, when_delivered: Callable[[], object] = lambda: None
    ) -> None:
        """:param when_delivered: called after each turn in which a Deferred was fired later."""
        self._clock = clock
        self._when_delivered = when_delivered
        self._due: deque[tuple[Deferred[Any], Any]] = deque()
        self._left = PER_TURN
        self._next_turn: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._due)

    def fire(self, deferred: Deferred[T], result: T | Failure) -> None:
        """Fire *deferred* with *result*, now or in a later turn, unless it is cancelled before."""
        self._due.append((deferred, result))
        if self._next_turn is None:
            self._next_turn = self._clock.callLater(0, self._turn)
        self._deliver()

    def _deliver(self) -> None:
        while self._due and self._left:
            self._left -= 1
            deferred, result = self._due.popleft()
            if not deferred.called:
                deferred.callback(result)

    def _turn(self) -> None:
        self._left = PER_TURN
        self._next_turn = self._clock.callLater(0, self._turn) if self._due else None
        self._deliver()
        self._when_delivered()


class CallQueue:
    """
    Calls that wait for a worker.

    :param start: gives a call to a worker, which calls `Call.finish` once it has returned.  What
        it raises is the result of the call.
    :param clock: for deadlines.
    :param limits: how many calls may run and wait.
    :param refusal: makes the error of a call that may not wait, or whose deadline has passed.
    :param when_expired: called with each call whose deadline has passed, before its Deferred fires:
        it is ``ABANDONED`` if it had no worker, else ``ORPHANED``.
    """

    def __init__(
        self,
        start: Callable[[Call[Any]], object],
        clock: IReactorTime,
        limits: Limits,
        *,
        refusal: Callable[[], Unavailable] = lambda: Unavailable(retry_after=1),
        when_expired: Callable[[Call[Any]], object] = lambda _: None,
    ) -> None:
        self._start = start
        self._clock = clock
        self._limits = limits
        self._most_running = limits.running
        self._refusal = refusal
        self._when_expired = when_expired
        #: Owner → its calls that wait, in order; no owner without one.
        self._queued: dict[Hashable, OrderedDict[Call[Any], None]] = {}
        #: The owners of `_queued` that may begin a call, the next one first.
        self._turns: OrderedDict[Hashable, None] = OrderedDict()
        self._running: Counter[Hashable] = Counter()
        self._queued_count = self._running_count = 0
        self._is_serving = False
        self._spread = SpreadResults(clock, self.check_settled)
        self._settling: list[Deferred[None]] = []

    @property
    def queued(self) -> int:
        """How many calls wait for a worker."""
        return self._queued_count

    @property
    def running(self) -> int:
        """How many calls have a worker, those that were given up meanwhile included."""
        return self._running_count

    def submit(
        self,
        work: Any,
        *,
        owner: Hashable = None,
        label: str = "",
        timeout: float | None = None,
        discard: Callable[[T], object] | None = None,
        refusable: bool = True,
    ) -> Deferred[T]:
        """
        Have *work* done by a worker when it is its owner's turn.

        :param work: `Call.work`.
        :param owner: `Call.owner`.
        :param label: `Call.label`.
        :param timeout: seconds from now in which it has to be done.
        :param discard: called with a result that nobody waits for, to release what it owns.
        :param refusable: whether the call may be refused because too many wait.
        :return: what the worker gives.  Cancelling it gives the call up: one that has not begun
            never runs.  Fails with *refusal* if too many calls wait, or when the deadline passes.
        """
        if refusable and self.is_full(owner):
            return fail(self._refusal())
        call: Call[T] = Call(self, work, owner, label, discard)
        if timeout is not None:
            call.expire_after(timeout, self._clock)
        self._queued.setdefault(owner, OrderedDict())[call] = None
        self._queued_count += 1
        self._take_turns(owner)
        self.serve()
        return call.deferred

    def is_full(self, owner: Hashable) -> bool:
        """:return: whether one more call of *owner* may not wait, and could not begin at once."""
        waiting = self._queued.get(owner, ())
        if self._running_count < self._most_running and not waiting and self._may_have_more(owner):
            return False  # it begins at once
        most = self._limits.queued_per_owner
        if owner is not None and most is not None and len(waiting) >= most:
            return True
        return self._queued_count >= self._limits.queued

    def resize(self, running: int) -> None:
        """:param running: how many calls may run from now on, in place of `Limits.running`."""
        self._most_running = running
        self.serve()

    def fail_queued(self, error: BaseException) -> None:
        """Give up all calls that wait for a worker; their Deferreds fail with *error*."""
        for call in [call for calls in self._queued.values() for call in calls]:
            call.give_up()
            self._spread.fire(call.deferred, Failure(error))
        self.check_settled()

    def settled(self) -> Deferred[None]:
        """:return: fires when no call waits or runs, and delivering results has led to none."""
        settled: Deferred[None] = Deferred()
        self._settling.append(settled)
        self.check_settled()
        return settled

    def serve(self) -> None:
        """Begin what may begin."""
        if self._is_serving:  # a worker has returned at once: the loop below goes on
            return
        self._is_serving = True
        try:
            while self._turns and self._running_count < self._most_running:
                self._begin(self._pop())
        finally:
            self._is_serving = False
        self.check_settled()

    # What a call tells of itself

    def release(self, call: Call[Any]) -> None:
        """The worker of *call* is free."""
        self._running_count -= 1
        self._running[call.owner] -= 1
        if not self._running[call.owner]:
            del self._running[call.owner]
        self._take_turns(call.owner)

    def drop(self, call: Call[Any]) -> None:
        """*call* waits no more."""
        calls = self._queued[call.owner]
        del calls[call]
        self._queued_count -= 1
        if not calls:
            del self._queued[call.owner]
            self._turns.pop(call.owner, None)

    def expired(self, call: Call[Any]) -> None:
        """The deadline of *call* has passed."""
        self._when_expired(call)
        self._spread.fire(call.deferred, Failure(self._refusal()))
        self.check_settled()

    def check_settled(self) -> None:
        """Tell those who wait for it if nothing waits or runs any more."""
        if not (self._queued_count or self._running_count or self._spread):
            settling, self._settling = self._settling, []
            for settled in settling:
                settled.callback(None)

    # Owners take turns

    def _take_turns(self, owner: Hashable) -> None:
        if owner in self._queued and self._may_have_more(owner):
            self._turns.setdefault(owner)

    def _may_have_more(self, owner: Hashable) -> bool:
        most = self._limits.running_per_owner
        return owner is None or most is None or self._running[owner] < most

    def _pop(self) -> Call[Any]:
        """:return: the first call of the owner whose turn it is, which goes to the end."""
        owner, _ = self._turns.popitem(last=False)
        calls = self._queued[owner]
        call, _ = calls.popitem(last=False)
        if not calls:
            del self._queued[owner]
        self._queued_count -= 1
        self._running_count += 1
        self._running[owner] += 1
        self._take_turns(owner)
        return call

    def _begin(self, call: Call[Any]) -> None:
        call.move(CallEvent.START)
        try:
            self._start(call)
        except Exception:
            call.finish(Failure())
