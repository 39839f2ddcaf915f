"""
Ends of connections that let the caller read its answer: closing with unread data resets the
connection, and may destroy what is on its way (RFC 9112, 9.6).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from chatfiles.streams.peer_state import PeerState, peer_state
from chatfiles.streams.stall_timeout import acknowledged, stall_timeout_for, unsent

__all__ = ["LINGER_BYTES", "LINGER_SECONDS", "LastResponse", "LingeringClose"]

#: What a refused sender may still send before it is cut off, so that it reads the answer.
LINGER_BYTES = 64 * 1024
#: How long it may take to do so, in seconds.
LINGER_SECONDS = 2.0


class LastResponse:
    """
    An answer behind which nothing is being served.

    :param transport: its connection.
    :param timeout: seconds without progress after which its reader has gone.
    """

    def __init__(self, transport: Any, timeout: float) -> None:
        self._transport = transport
        self._acknowledged = acknowledged(transport)
        self._patience = stall_timeout_for(transport, timeout)
        self._taken: Hashable = None
        self._stalled = 0.0

    def is_awaited(self, waited: float) -> bool:
        """
        :param waited: seconds since this was last asked.
        :return: whether some of it is still on its way, and is being taken, however slowly.
        """
        # What was on its way to one that has reset the connection counts as unsent for ever.
        if not unsent(self._transport) or peer_state(self._transport) is PeerState.RESET:
            return False
        before, self._taken = self._taken, self._acknowledged()
        self._stalled = 0.0 if before != self._taken else self._stalled + waited
        return self._stalled < self._patience()


class LingeringClose:
    """
    The time between the end of what we send and that of the connection.

    :param call_later: for the timer.
    :param is_awaited: see `LastResponse.is_awaited`.
    :param cut: ends the connection.
    :ivar active: whether it has begun.
    """

    def __init__(
        self,
        call_later: Callable[..., IDelayedCall],
        is_awaited: Callable[[float], bool],
        cut: Callable[[], object],
    ) -> None:
        self._call_later = call_later
        self._is_awaited = is_awaited
        self._cut = cut
        self._received = 0
        self._timer: IDelayedCall | None = None
        self.active = False

    def begin(self) -> None:
        """Everything has been said."""
        self.active = True
        self._wait(self._end)

    def allows(self, size: int) -> bool:
        """
        :param size: bytes that have come, and are discarded.
        :return: whether more may.
        """
        self._received += size
        return self._received <= LINGER_BYTES

    def cut_later(self) -> None:
        """Cut a connection that is being closed, should that not come to an end."""
        self._wait(self._cut)

    def stop(self) -> None:
        """The connection is gone; idempotent."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _wait(self, then: Callable[[], object]) -> None:
        self.stop()
        self._timer = self._call_later(LINGER_SECONDS, then)

    def _end(self) -> None:
        if self._is_awaited(LINGER_SECONDS):  # by a slow reader
            self._wait(self._end)
        else:
            self._cut()
