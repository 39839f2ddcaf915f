"""
A transfer: the states of one request and its response.  It ends exactly once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from enum import StrEnum
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IReactorTime

from chatfiles.streams.outcome import ClientLeft, Outcome
from chatfiles.streams.stall_timeout import (
    PROXY_STALL_FACTOR,
    StallTimeout,
    acknowledged,
    stall_timeout_for,
)

__all__ = ["TRANSITIONS", "Event", "Sender", "State", "Transfer"]


class State(StrEnum):
    """The state of the response."""

    OPEN = "OPEN"  # nothing has been sent
    HEAD_SENT = "HEAD_SENT"  # the headers were sent; an error can only abort the connection
    STREAMING = "STREAMING"  # a sender sends the body
    SENT = "SENT"  # the last byte was written; the file is closed
    COMPLETE = "COMPLETE"  # the response has ended without an error
    ABORTED = "ABORTED"  # interrupted; the outcome says why


class Event(StrEnum):
    """What happens to a transfer."""

    HEAD = "head written"
    BODY = "sender begins"
    LAST_BYTE = "last byte written"
    FINISH = "response ended"
    ABORT = "aborted"


#: Every transition: (state, event, next state).  An event that is not listed for a state is ignored
#: in that state, so COMPLETE and ABORTED are final.
TRANSITIONS: Final[tuple[tuple[State, Event, State], ...]] = (
    (State.OPEN, Event.HEAD, State.HEAD_SENT),
    (State.HEAD_SENT, Event.BODY, State.STREAMING),
    (State.HEAD_SENT, Event.LAST_BYTE, State.SENT),
    (State.STREAMING, Event.LAST_BYTE, State.SENT),
    (State.SENT, Event.FINISH, State.COMPLETE),
    (State.OPEN, Event.ABORT, State.ABORTED),
    (State.HEAD_SENT, Event.ABORT, State.ABORTED),
    (State.STREAMING, Event.ABORT, State.ABORTED),
    (State.SENT, Event.ABORT, State.ABORTED),
)

_FINAL: Final = frozenset({State.COMPLETE, State.ABORTED})
_NEXT: Final[dict[State, dict[Event, State]]] = {state: {} for state in State}
for _state, _event, _next in TRANSITIONS:
    _NEXT[_state][_event] = _next


class Sender(Protocol):
    """Sends a body."""

    @property
    def sent(self) -> int:
        """Number of bytes of the body that have been sent."""

    def stop(self) -> None:
        """Stop sending; idempotent."""


class _Request(Protocol):
    channel: Any

    @property
    def relayed(self) -> bool: ...
    def abort(self, outcome: Outcome) -> object: ...
    def transfer_ended(self) -> object: ...


class Transfer:
    """
    One request and its response.

    It stops its timers and its sender, and closes its file, when the last byte was written or when
    it is aborted, whichever comes first.

    :param request: its ``transfer_ended`` is called once: when the transfer is `State.COMPLETE`, or
        when the connection of a transfer that is `State.ABORTED` is closed.
    :ivar state: the state of the transfer.
    :ivar outcome: how it ended: an `Outcome`, or the error code of a refused request; empty until
        that is known.
    :ivar sent: number of bytes of the body that were sent; 0 until the sender has stopped.
    """

    __slots__ = ("_owned", "_request", "_sender", "_timers", "outcome", "sent", "state")

    def __init__(self, request: _Request) -> None:
        self._request: _Request | None = request
        self._sender: Sender | None = None
        self._timers: tuple[StallTimeout, ...] = ()
        self._owned: tuple[Callable[[], object], ...] = ()
        self.state = State.OPEN
        self.outcome = ""
        self.sent = 0

    @property
    def has_ended(self) -> bool:
        """Whether its request was notified of the end."""
        return self._request is None

    @property
    def moved(self) -> int:
        """Number of bytes of the body that a sender has sent until now."""
        return self.sent if self._sender is None else self._sender.sent

    # -- its file, sender and timers

    def own(self, close: Callable[[], object]) -> None:
        """
        Register a function that closes a resource of the transfer, such as its file.  A transfer
        may have several.

        :param close: called once, when the transfer no longer needs the resource; at once if the
            transfer has ended.
        :raise ClientLeft: the transfer has ended.
        """
        if self.state in _FINAL:
            close()
            raise ClientLeft
        self._owned += (close,)

    def begin_body(self, sender: Sender) -> None:
        """
        :param sender: sends the body; it is stopped when the transfer ends.
        :raise ClientLeft: the transfer has ended.
        """
        if not self._advance(Event.BODY):
            sender.stop()
            raise ClientLeft
        self._sender = sender

    def watch(
        self,
        clock: IReactorTime,
        timeout: float,
        progress: Callable[[], Hashable],
        outcome: Outcome,
    ) -> None:
        """
        Abort the transfer if it makes no progress before its last byte was written.

        :param clock: for the timer.
        :param timeout: seconds.
        :param progress: returns any value that changes with progress.
        :param outcome: the outcome of a transfer that is aborted for this.
        """
        self._watch(clock, timeout, progress, lambda: outcome)

    def watch_client(
        self,
        clock: IReactorTime,
        timeout: float,
        progress: Callable[[Hashable], Hashable],
        outcome: Callable[[], Outcome] = lambda: Outcome.CLIENT_STALLED,
    ) -> None:
        """
        Abort the transfer if its client takes nothing.

        :param clock: for the timer.
        :param timeout: seconds; longer for a client that reads slowly, and for a proxy.
        :param progress: takes a value that changes whenever the client has taken bytes; returns one
            that changes with progress.
        :param outcome: returns the outcome of a transfer that is aborted for this: the client may
            have taken nothing because nothing was sent.
        """
        if self._request is not None:
            transport = self._request.channel.transport
            taken = acknowledged(transport)
            if self._request.relayed:
                timeout *= PROXY_STALL_FACTOR
            current_timeout = stall_timeout_for(transport, timeout)
            self._watch(clock, timeout, lambda: progress(taken()), outcome, current_timeout)

    def _watch(
        self,
        clock: IReactorTime,
        timeout: float,
        progress: Callable[[], Hashable],
        outcome: Callable[[], Outcome],
        current_timeout: Callable[[], float] | None = None,
    ) -> None:
        request = self._request
        if request is not None and self.state not in _FINAL:
            stalled = StallTimeout(
                clock, timeout, progress, lambda: request.abort(outcome()), current_timeout
            )
            self._timers += (stalled,)

    # -- events

    def head_sent(self) -> None:
        """The headers of the response were written."""
        self._advance(Event.HEAD)

    def refuse(self, code: str) -> None:
        """:param code: the error code of the response that is going to be sent."""
        self.outcome = self.outcome or code

    def last_byte(self) -> None:
        """The last byte of the response was written."""
        if self._advance(Event.LAST_BYTE):
            self._release()

    def finish(self) -> None:
        """The response has ended, after `last_byte`."""
        if self._advance(Event.FINISH):
            self.outcome = self.outcome or Outcome.COMPLETE
            self._tell_end()

    def abort(self, outcome: Outcome | str) -> None:
        """
        Abort the transfer, unless it has ended.

        :param outcome: the reason; the error code of an error that can no longer be sent.
        """
        if self._advance(Event.ABORT):
            self.outcome = self.outcome or outcome
            self._release()

    def connection_lost(self) -> None:
        """The connection is closed, which ends a transfer that is not complete."""
        self.abort(Outcome.CLIENT_LEFT)
        self._tell_end()

    def _advance(self, event: Event) -> bool:
        """:return: whether *event* has a transition in this state."""
        state = _NEXT[self.state].get(event)
        if state is None:
            return False
        self.state = state
        return True

    def _release(self) -> None:
        timers, self._timers = self._timers, ()
        for timer in timers:
            timer.stop()
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.stop()
            self.sent = sender.sent
        owned, self._owned = self._owned, ()
        for close in owned:
            close()

    def _tell_end(self) -> None:
        request, self._request = self._request, None  # breaks the reference cycle
        if request is not None:
            request.transfer_ended()
