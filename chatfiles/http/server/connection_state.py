"""
The states of a server connection, and the transitions between them.

`TRANSITIONS` is the complete table.  `ServerConnection` changes its state only with `NEXT_STATES`.
A pair of state and event that is not in the table is a defect of chatfiles, not of a client.
"""

from __future__ import annotations

from enum import StrEnum

from chatfiles.http.server.disconnect import CHECK_INTERVAL
from chatfiles.http.server.lingering_close import LINGER_SECONDS

__all__ = [
    "BODIES",
    "ENDED",
    "HEADS",
    "NEXT_STATES",
    "SECONDS",
    "TRANSITIONS",
    "Event",
    "State",
    "UnexpectedEvent",
    "reads_in",
]


class State(StrEnum):
    """The state of a connection, which serves one request at a time."""

    #: No request is being received or served.
    IDLE = "idle"
    #: A part of the request line and headers has been received.
    HEAD = "head"
    #: A request is being served, and its body is being received.
    BODY = "body"
    #: As `BODY`, but nothing is read: the receiver of the body asked for back-pressure.
    HELD = "held"
    #: A complete request is being served.
    SERVING = "serving"
    #: The response is complete; the rest of the request's body is read and discarded.
    DRAINING = "draining"
    #: The response is complete; the next request waits until the client has taken the response.
    FLUSHING = "flushing"
    #: The next request waits until other connections have had their turn.
    YIELDING = "yielding"
    #: The last response is complete; the connection closes when it has been sent.
    ENDING = "ending"
    #: Sending has ended.  Received bytes are discarded, so that the client can read the response.
    LINGERING = "lingering"
    #: The connection is being closed or reset; nothing is read any more.
    CLOSING = "closing"
    #: The connection is closed.
    CLOSED = "closed"


class Event(StrEnum):
    """What happens to a connection."""

    #: The first bytes of a request line have been received.
    BYTES = "bytes"
    #: The headers are complete, and the request has no body.
    REQUEST = "request"
    #: The headers are complete, and a body follows.
    UPLOAD = "upload"
    #: The headers are malformed, too large or late, or the server stops: an error was sent.
    REFUSED = "refused"
    #: The fast path declined the request.
    DECLINED = "declined"
    #: The receiver of the body asks for back-pressure.
    HOLD = "hold"
    #: The receiver of the body ends the back-pressure.
    RESUME = "resume"
    #: The last byte of the body has been received.
    BODY_END = "body end"
    #: The response is complete, and another request may follow.
    ANSWERED = "answered"
    #: The response is complete, and no other request may follow.
    ANSWERED_LAST = "answered, last"
    #: The send buffer is no longer full.
    FLUSHED = "flushed"
    #: Many requests were served in a row, and more have been received.
    YIELD = "yield"
    #: Other connections have had their turn.
    TURN = "turn"
    #: The client has closed its sending side (FIN).
    FIN = "fin"
    #: The client has sent nothing, or taken nothing, for too long.
    SILENT = "silent"
    #: The site stops, and closes a connection that serves no request.
    STOP = "stop"
    #: As `STOP`, under TLS, where the client has to confirm the close and may not do so.
    STOP_TLS = "stop, TLS"
    #: The server resets the connection.
    ABORT = "abort"
    #: The transport is closed.
    LOST = "lost"


_S, _E = State, Event

#: Every transition: state, event, next state.
TRANSITIONS: tuple[tuple[State, Event, State], ...] = (
    # A request line and headers arrive.
    (_S.IDLE, _E.BYTES, _S.HEAD),
    (_S.HEAD, _E.REQUEST, _S.SERVING),
    (_S.IDLE, _E.REQUEST, _S.SERVING),
    (_S.SERVING, _E.DECLINED, _S.IDLE),
    (_S.HEAD, _E.UPLOAD, _S.BODY),
    (_S.HEAD, _E.REFUSED, _S.LINGERING),
    # A body arrives while the request is being served.
    (_S.BODY, _E.HOLD, _S.HELD),
    (_S.HELD, _E.RESUME, _S.BODY),
    (_S.BODY, _E.BODY_END, _S.SERVING),
    (_S.HELD, _E.BODY_END, _S.SERVING),
    (_S.BODY, _E.ANSWERED, _S.DRAINING),
    (_S.BODY, _E.ANSWERED_LAST, _S.LINGERING),
    (_S.HELD, _E.ANSWERED, _S.DRAINING),
    (_S.HELD, _E.ANSWERED_LAST, _S.LINGERING),
    (_S.DRAINING, _E.BODY_END, _S.FLUSHING),
    # The response is complete.
    (_S.SERVING, _E.ANSWERED, _S.FLUSHING),
    (_S.SERVING, _E.ANSWERED_LAST, _S.ENDING),
    (_S.FLUSHING, _E.FLUSHED, _S.IDLE),
    (_S.FLUSHING, _E.YIELD, _S.YIELDING),
    (_S.YIELDING, _E.TURN, _S.FLUSHING),
    # The client sends no more.  Complete requests are served, incomplete ones are not.
    (_S.IDLE, _E.FIN, _S.ENDING),
    (_S.HEAD, _E.FIN, _S.ENDING),
    (_S.BODY, _E.FIN, _S.CLOSING),
    (_S.HELD, _E.FIN, _S.CLOSING),
    (_S.SERVING, _E.FIN, _S.SERVING),
    (_S.DRAINING, _E.FIN, _S.ENDING),
    (_S.FLUSHING, _E.FIN, _S.FLUSHING),
    (_S.YIELDING, _E.FIN, _S.YIELDING),
    (_S.ENDING, _E.FIN, _S.ENDING),
    (_S.LINGERING, _E.FIN, _S.LINGERING),
    (_S.CLOSING, _E.FIN, _S.CLOSING),
    # A deadline has passed.
    (_S.IDLE, _E.SILENT, _S.CLOSING),
    (_S.FLUSHING, _E.SILENT, _S.CLOSING),
    (_S.ENDING, _E.SILENT, _S.CLOSING),
    (_S.DRAINING, _E.SILENT, _S.LINGERING),
    # The site stops.
    (_S.IDLE, _E.STOP, _S.ENDING),
    (_S.FLUSHING, _E.STOP, _S.ENDING),
    (_S.YIELDING, _E.STOP, _S.ENDING),
    (_S.ENDING, _E.STOP, _S.ENDING),
    (_S.IDLE, _E.STOP_TLS, _S.LINGERING),
    (_S.FLUSHING, _E.STOP_TLS, _S.LINGERING),
    (_S.YIELDING, _E.STOP_TLS, _S.LINGERING),
    (_S.ENDING, _E.STOP_TLS, _S.LINGERING),
    # The end, from every state.
    *((state, _E.ABORT, _S.CLOSING) for state in _S if state is not _S.CLOSED),
    *((state, _E.LOST, _S.CLOSED) for state in _S if state is not _S.CLOSED),
)

#: States in which received bytes belong to a request line or to headers.
HEADS = frozenset({State.IDLE, State.HEAD})
#: States in which received bytes belong to a body.
BODIES = frozenset({State.BODY, State.HELD, State.DRAINING})
#: States in which received bytes are ignored.
ENDED = frozenset({State.ENDING, State.CLOSING, State.CLOSED})

#: Seconds that a state lasts, where that is neither the idle timeout nor depends on the connection.
SECONDS: dict[State, float | None] = {
    State.HELD: CHECK_INTERVAL,
    State.YIELDING: 0.0,
    State.LINGERING: LINGER_SECONDS,
    State.CLOSING: LINGER_SECONDS,
    State.CLOSED: None,
}


class UnexpectedEvent(RuntimeError):
    """`TRANSITIONS` has no transition for this event in the state of the connection."""


class _NextStates(dict[tuple[State, Event], State]):
    def __missing__(self, key: tuple[State, Event]) -> State:
        raise UnexpectedEvent(f"{key[1]!r} in state {key[0]!r}")


#: From a state and what happened, to the next state.
#: :raise UnexpectedEvent: this cannot happen in this state.
NEXT_STATES = _NextStates({(state, event): then for state, event, then in TRANSITIONS})


def reads_in(state: State, *, eager: bool, blocked: bool, lingering: bool) -> bool:
    """
    :param state: of a connection.
    :param eager: whether the client has sent too many bytes ahead while its request is served.
    :param blocked: whether the send buffer is full.
    :param lingering: whether the client may still send bytes, which are discarded.
    :return: whether the connection reads from its transport.
    """
    match state:
        case State.HELD | State.FLUSHING | State.YIELDING:
            return False
        case State.SERVING:
            return not eager
        case State.LINGERING:
            return lingering
        case State.ENDING | State.CLOSING:
            return True  # under TLS, the client has to confirm the close
    return not blocked
