"""
Callers that leave while they are held back.

A socket that is not read from is not watched by the reactor either: that its caller has left would
be noticed when somebody takes the rest of the body, or never.  So it is looked at (CONTRACT 9).

What a caller's own kernel still holds, because ours takes no more, comes before its end: until that
has been taken, nothing tells a caller that left from one that waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from chatfiles.http.server.chunked_body import ChunkedBody
from chatfiles.http.server.request_body import RequestBody
from chatfiles.streams.peer_state import unread, unread_tail

__all__ = ["LOOK", "DisconnectWatch", "rest_is_here"]

#: Seconds between two looks.
LOOK = 0.25


class DisconnectWatch:
    """
    Looks at a connection while it is held back.

    :param call_later: for the timer.
    :param is_held_back: whether nothing is read from it at the moment.
    :param look: looks, and ends the connection if that is all that is left to do.
    """

    def __init__(
        self,
        call_later: Callable[..., IDelayedCall],
        is_held_back: Callable[[], bool],
        look: Callable[[], object],
    ) -> None:
        self._call_later = call_later
        self._is_held_back = is_held_back
        self._look = look
        self._timer: IDelayedCall | None = None

    def begin(self) -> None:
        """
        It is held back from now on.  It may be let go, and held back again, a thousand times a
        second: the watch finds out by itself.
        """
        if self._timer is None:
            self._timer = self._call_later(LOOK, self._late)

    def _late(self) -> None:
        self._timer = None
        if self._is_held_back():
            self.begin()
            self._look()

    def stop(self) -> None:
        """End it; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def rest_is_here(transport: Any, body: RequestBody, decoder: object) -> bool:
    """
    Look at what is unread of a caller that sends no more: a caller may have closed its side behind
    a body that is complete.

    :param transport: its connection, without TLS.
    :param body: as far as it has been read.
    :param decoder: what reads it.
    :return: whether the body may become complete.
    """
    if body.length is not None:
        return unread(transport) >= body.length - body.seen
    tail = unread_tail(transport)
    return tail is None or not isinstance(decoder, ChunkedBody) or decoder.may_end_with(tail)
