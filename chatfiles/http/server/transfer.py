"""
A transfer: the life of one request and its response, with exactly one end.
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

__all__ = ["TRANSITIONS", "Event", "Outcome", "Sender", "State", "Transfer"]


class State(StrEnum):
    """How far the response has come."""

    OPEN = "OPEN"  # nothing has been sent
    HEAD_SENT = "HEAD_SENT"  # a failure can only be shown by interrupting the connection
    STREAMING = "STREAMING"  # a sender sends the body
    BACKPRESSURE = "BACKPRESSURE"  # the sender waits for the client
    SENT = "SENT"  # the last byte was written; the file is closed
    COMPLETE = "COMPLETE"  # the response has ended as it should
    ABORTED = "ABORTED"  # interrupted; the outcome says why


class Event(StrEnum):
    """What happens to a transfer."""

    HEAD = "head written"
    BODY = "sender begins"
    PAUSE = "client takes nothing"
    RESUME = "client takes bytes"
    LAST_BYTE = "last byte written"
    FINISH = "response ended"
    ABORT = "aborted"


#: All that can happen: (state, event, next state).  An event that a state does not list is ignored
#: there, so COMPLETE and ABORTED are final.
TRANSITIONS: Final[tuple[tuple[State, Event, State], ...]] = (
    (State.OPEN, Event.HEAD, State.HEAD_SENT),
    (State.HEAD_SENT, Event.BODY, State.STREAMING),
    (State.STREAMING, Event.PAUSE, State.BACKPRESSURE),
    (State.BACKPRESSURE, Event.RESUME, State.STREAMING),
    (State.HEAD_SENT, Event.LAST_BYTE, State.SENT),
    (State.STREAMING, Event.LAST_BYTE, State.SENT),
    (State.BACKPRESSURE, Event.LAST_BYTE, State.SENT),
    (State.SENT, Event.FINISH, State.COMPLETE),
    (State.OPEN, Event.ABORT, State.ABORTED),
    (State.HEAD_SENT, Event.ABORT, State.ABORTED),
    (State.STREAMING, Event.ABORT, State.ABORTED),
    (State.BACKPRESSURE, Event.ABORT, State.ABORTED),
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
        """Bytes of the body that have been sent."""

    def stop(self) -> None:
        """Send no more; idempotent."""


class _Request(Protocol):
    channel: Any

    @property
    def relayed(self) -> bool: ...
    def abort(self, outcome: Outcome) -> object: ...
    def transfer_ended(self) -> object: ...


class Transfer:
    """
    One request and its response.

    It stops its timers and its sender and closes its file when the last byte was written, or when
    it is aborted, whichever comes first.

    :param request: its ``transfer_ended`` is called once: when the transfer is `State.COMPLETE`, or
        when the connection of a transfer that is `State.ABORTED` is gone.
    :ivar state: where the transfer is.
    :ivar outcome: how it ended: an `Outcome`, or the error code of a refused request; empty before
        that is known.
    :ivar sent: bytes of the body that its sender has sent, once it has stopped.
    """

    __slots__ = ("_close", "_request", "_sender", "_timers", "outcome", "sent", "state")

    def __init__(self, request: _Request) -> None:
        self._request: _Request | None = request
        self._sender: Sender | None = None
        self._timers: tuple[StallTimeout, ...] = ()
        self._close: Callable[[], object] | None = None
        self.state = State.OPEN
        self.outcome = ""
        self.sent = 0

    # -- what it owns

    def own(self, close: Callable[[], object]) -> None:
        """
        Have something closed when the transfer needs it no more, such as the file that is sent.

        :param close: is called once; now, if the transfer has ended.
        :raise ClientLeft: the transfer has ended.
        """
        if self.state in _FINAL:
            close()
            raise ClientLeft
        self._close = close

    def begin_body(self, sender: Sender) -> None:
        """
        :param sender: is going to send the body; it is stopped when the transfer ends.
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
        patience: Callable[[], float] | None = None,
    ) -> None:
        """
        Abort the transfer when it makes no progress, until its last byte was written.

        :param timeout: seconds.
        :param progress: any value that changes with progress.
        :param outcome: of a transfer that is aborted for this.
        :param patience: see `StallTimeout`.
        """
        request = self._request
        if request is not None and self.state not in _FINAL:
            timer = StallTimeout(clock, timeout, progress, lambda: request.abort(outcome), patience)
            self._timers += (timer,)

    def watch_client(
        self, clock: IReactorTime, timeout: float, progress: Callable[[Hashable], Hashable]
    ) -> None:
        """
        Abort the transfer when its client takes nothing.

        :param timeout: seconds; a client that is slow but alive, or a proxy, has longer.
        :param progress: gets a value that changes whenever the client has taken bytes; gives one
            that changes with progress.
        """
        if self._request is not None:
            transport = self._request.channel.transport
            taken = acknowledged(transport)
            if self._request.relayed:
                timeout *= PROXY_STALL_FACTOR
            patience = stall_timeout_for(transport, timeout)
            self.watch(clock, timeout, lambda: progress(taken()), Outcome.CLIENT_STALLED, patience)

    # -- what happens to it

    def head_sent(self) -> None:
        """The head of the response was written."""
        self._advance(Event.HEAD)

    def set_backpressure(self, is_on: bool) -> None:
        """:param is_on: whether the sender waits for the client."""
        self._advance(Event.PAUSE if is_on else Event.RESUME)

    def refuse(self, code: str) -> None:
        """:param code: the error code of the response that is going to be sent."""
        self.outcome = self.outcome or code

    def last_byte(self) -> None:
        """The last byte of the response was written."""
        if self._advance(Event.LAST_BYTE):
            self._release()

    def finish(self) -> None:
        """The response has ended, behind its `last_byte`."""
        if self._advance(Event.FINISH):
            self.outcome = self.outcome or Outcome.COMPLETE
            self._tell_end()

    def abort(self, outcome: Outcome | str) -> None:
        """
        Interrupt the transfer, unless it has ended.

        :param outcome: why; an error code if a refusal comes too late to be sent.
        """
        if self._advance(Event.ABORT):
            self.outcome = self.outcome or outcome
            self._release()

    def connection_lost(self) -> None:
        """The connection is gone: a transfer that is not complete has ended."""
        self.abort(Outcome.CLIENT_LEFT)
        self._tell_end()

    def _advance(self, event: Event) -> bool:
        """:return: whether *event* means anything in this state."""
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
        close, self._close = self._close, None
        if close is not None:
            close()

    def _tell_end(self) -> None:
        request, self._request = self._request, None  # else the two would keep each other alive
        if request is not None:
            request.transfer_ended()
