"""
A queue of calls that wait for a scarce worker: a thread, a connection, a place in a pool.

A call belongs to an owner, such as a root, a workspace or a database.  Owners take turns, and the
number of running calls of each is limited.  So an owner whose calls hang cannot occupy every
worker.  This module runs on the reactor thread; the code that uses it provides the workers.
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

#: The most Deferreds that are fired in one turn of the reactor.
PER_TURN: Final = 50


class CallState(Enum):
    """The state of a call."""

    QUEUED = auto()  # waits for a worker
    RUNNING = auto()  # has a worker
    DONE = auto()  # its result was delivered
    ABANDONED = auto()  # given up before it began: it never runs
    ORPHANED = auto()  # given up while it runs: it keeps its worker until it returns
    DISCARDED = auto()  # an orphaned call has returned; its result was discarded


class CallEvent(Enum):
    """What happens to a call."""

    START = auto()  # a worker is free
    FINISH = auto()  # the worker has returned
    GIVE_UP = auto()  # it was cancelled, its deadline passed, or the queue was emptied


#: Every transition.  Any other pair is a defect of the code that uses the queue, and raises
#: `KeyError`.
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
    The most calls in each state.

    :param running: calls that have a worker, including those that were given up since.
    :param running_per_owner: as *running*, for one owner; ``None`` for no limit per owner.
    :param queued: calls that wait for a worker.
    :param queued_per_owner: as *queued*, for one owner; ``None`` for no limit per owner.
    """

    running: int
    running_per_owner: int | None = None
    queued: int = 10_000
    queued_per_owner: int | None = None


class Call(Generic[T]):
    """
    One call.  `CallQueue.submit` makes it, and *start* of the queue passes it to a worker.

    :ivar work: the work, in any form that the worker understands.
    :ivar owner: the owner of the call; ``None`` for a call without a limit per owner.
    :ivar label: its name in the log.
    :ivar state: the state of the call.  Other threads may read it.
    :ivar on_orphaned: called once if the call is given up while it runs; set by the worker.
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
        """Whether the result is still needed: the call was not given up and has not returned."""
        return self.state in (CallState.QUEUED, CallState.RUNNING)

    def finish(self, result: T | Failure) -> None:
        """
        The worker has returned, and is free.  Call it once, on the reactor thread.

        :param result: the result of *work*.
        """
        self.move(CallEvent.FINISH)
        self._queue.release(self)
        self._stop_deadline()
        if self.state is CallState.DONE:
            self.deferred.callback(result)
        elif self._discard is not None and not isinstance(result, Failure):
            with Logger().failuresHandled("the result of a call could not be discarded"):
                self._discard(result)
        self._queue.delivered()

    def move(self, event: CallEvent) -> None:
        """
        Change the state.

        :param event: what happened to the call.
        :raise KeyError: *event* cannot happen in this state.
        """
        self.state = TRANSITIONS[self.state, event]

    def give_up(self) -> None:
        """The result is no longer needed: do not begin the call, or discard its result."""
        self.move(CallEvent.GIVE_UP)
        self._stop_deadline()
        if self.state is CallState.ABANDONED:
            self._queue.drop(self)
        elif self.on_orphaned is not None:
            self.on_orphaned()

    def expire_after(self, timeout: float, clock: IReactorTime) -> None:
        """
        Set the deadline.

        :param timeout: seconds from now after which the call is given up.
        :param clock: for the timer.
        """
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
    Fires Deferreds: at most `PER_TURN` in one turn of the reactor, the others in the next turns.

    If a thousand clients receive responses in one turn, everything else has to wait meanwhile.
    """

    def __init__(
        self, clock: IReactorTime, when_delivered: Callable[[], object] = lambda: None
    ) -> None:
        """
        :param clock: starts the next turn.
        :param when_delivered: called after each turn in which a delayed Deferred was fired.
        """
        self._clock = clock
        self._when_delivered = when_delivered
        self._due: deque[tuple[Deferred[Any], Any]] = deque()
        self._left = PER_TURN
        self._next_turn: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._due)

    def fire(self, deferred: Deferred[T], result: T | Failure) -> None:
        """
        Fire *deferred* now or in a later turn, unless it is cancelled first.

        :param deferred: the Deferred.
        :param result: its result.
        """
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

    :param start: passes a call to a worker, which calls `Call.finish` when it has returned.  If
        *start* raises an exception, that is the result of the call.
    :param clock: for deadlines.
    :param limits: how many calls may run and wait.
    :param refusal: makes the error of a call that may not wait, or whose deadline has passed.
    :param when_expired: called with each call whose deadline has passed, before its Deferred fires.
        The call is ``ABANDONED`` if it had no worker, else ``ORPHANED``.
    """

    def __init__(
        self,
        start: Callable[[Call[Any]], object],
        clock: IReactorTime,
        limits: Limits,
        *,
        refusal: Callable[[], Unavailable] = lambda: Unavailable(retry_after=1),
        when_expired: Callable[[Call[Any]], BaseException | None] = lambda _: None,
    ) -> None:
        self._start = start
        self._clock = clock
        self._limits = limits
        self._most_running = limits.running
        self._refusal = refusal
        self._when_expired = when_expired
        #: Owner → its waiting calls in order; only owners that have one.
        self._queued: dict[Hashable, OrderedDict[Call[Any], None]] = {}
        #: The owners in `_queued` that may begin a call, the next one first.
        self._turns: OrderedDict[Hashable, None] = OrderedDict()
        self._running: Counter[Hashable] = Counter()
        self._queued_count = self._running_count = self._delivering = 0
        self._is_serving = False
        self._spread = SpreadResults(clock, self.check_settled)
        self._settling: list[Deferred[None]] = []

    @property
    def queued(self) -> int:
        """The number of calls that wait for a worker."""
        return self._queued_count

    @property
    def running(self) -> int:
        """The number of calls that have a worker, including those that were given up since."""
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
        Queue *work* for a worker; it begins when it is its owner's turn.

        :param work: `Call.work`.
        :param owner: `Call.owner`.
        :param label: `Call.label`.
        :param timeout: seconds from now until the deadline; ``None`` for no deadline.
        :param discard: called with a result that is no longer needed, to release what it owns.
        :param refusable: whether the call may be refused because too many wait.
        :return: fires or fails with the result of the worker.  Fails with *refusal* if too many
            calls wait, or when the deadline passes.  Cancelling it gives the call up: if it has not
            begun, it never runs.
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
        """:return: whether another call of *owner* could neither begin at once nor wait."""
        waiting = self._queued.get(owner, ())
        if self._running_count < self._most_running and not waiting and self._may_have_more(owner):
            return False  # it begins at once
        most = self._limits.queued_per_owner
        if owner is not None and most is not None and len(waiting) >= most:
            return True
        return self._queued_count >= self._limits.queued

    def resize(self, running: int) -> None:
        """
        Replace `Limits.running`.

        :param running: the most calls that may run from now on.
        """
        self._most_running = running
        self.serve()

    def fail_queued(self, error: BaseException, which: Callable[[Call[Any]], bool]) -> None:
        """
        Give up calls that wait for a worker.

        :param error: their Deferreds fail with it.
        :param which: whether to give up a call.
        """
        queued = [call for calls in self._queued.values() for call in calls]
        for call in filter(which, queued):
            call.give_up()
            self._spread.fire(call.deferred, Failure(error))
        self.check_settled()

    def settled(self) -> Deferred[None]:
        """:return: fires when no call waits or runs, and every result has been delivered."""
        settled: Deferred[None] = Deferred()
        self._settling.append(settled)
        self.check_settled()
        return settled

    def serve(self) -> None:
        """Begin every call that may begin."""
        if self._is_serving:  # called from the loop below, which continues
            return
        self._is_serving = True
        try:
            while self._turns and self._running_count < self._most_running:
                self._begin(self._pop())
        finally:
            self._is_serving = False
        self.check_settled()

    # Called by `Call`

    def release(self, call: Call[Any]) -> None:
        """The worker of *call* is free, and its result is about to be delivered."""
        self._delivering += 1
        self._running_count -= 1
        self._running[call.owner] -= 1
        if not self._running[call.owner]:
            del self._running[call.owner]
        self._take_turns(call.owner)

    def delivered(self) -> None:
        """The result of a call has been delivered, and may have led to another call."""
        self._delivering -= 1
        self.serve()

    def drop(self, call: Call[Any]) -> None:
        """*call* no longer waits for a worker."""
        calls = self._queued[call.owner]
        del calls[call]
        self._queued_count -= 1
        if not calls:
            del self._queued[call.owner]
            self._turns.pop(call.owner, None)

    def expired(self, call: Call[Any]) -> None:
        """The deadline of *call* has passed."""
        error = self._refusal()
        error.__cause__ = self._when_expired(call)
        self._spread.fire(call.deferred, Failure(error))
        self.check_settled()

    def check_settled(self) -> None:
        """Fire the Deferreds of `settled` if no call waits or runs any more."""
        if not (self._queued_count or self._running_count or self._delivering or self._spread):
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
        """:return: the first call of the owner whose turn it is; the owner's next turn is last."""
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
