"""
When each parked connection is asked whether its workspace is alive.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from chatfiles.platform.channel.parked_connection import ParkedConnection

__all__ = ["Liveness"]

#: Seconds without a response after which a connection is asked: shorter than what gateways with
#: address translation and load balancers allow.  Not all connections are asked at the same time.
LEAST_SILENCE, MOST_SILENCE = 15.0, 24.5
#: Seconds between two looks at the connections.
INTERVAL: Final = 0.5


class Liveness:
    """
    Watches all parked connections with one timer.

    :param clock: runs it.
    :param uniform: returns a random number between two.
    :param ask: called with each connection that is due and idle.
    """

    def __init__(
        self,
        clock: IReactorTime,
        uniform: Callable[[float, float], float],
        ask: Callable[[ParkedConnection], object],
    ) -> None:
        self._clock = clock
        self._uniform = uniform
        self._ask = ask
        self._due: list[tuple[float, int, ParkedConnection]] = []
        self._number = count()
        self._timer: IDelayedCall | None = None

    def watch(self, connection: ParkedConnection) -> None:
        """Ask *connection* whenever it has been silent, until it is closed."""
        self._push(connection, connection.answered_at)
        if self._timer is None:
            self._timer = self._clock.callLater(INTERVAL, self._look)

    def stop(self) -> None:
        """Watch no connection any more."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _push(self, connection: ParkedConnection, since: float) -> None:
        due = since + self._uniform(LEAST_SILENCE, MOST_SILENCE)
        heapq.heappush(self._due, (due, next(self._number), connection))

    def _look(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        while self._due and self._due[0][0] <= now:
            _, _, connection = heapq.heappop(self._due)
            if connection.is_closed:
                continue
            if not connection.usable:  # it serves a request
                self._push(connection, now)
            elif now - connection.answered_at < LEAST_SILENCE:
                self._push(connection, connection.answered_at)
            else:
                self._ask(connection)
                self._push(connection, now)
        if self._due:
            self._timer = self._clock.callLater(INTERVAL, self._look)
