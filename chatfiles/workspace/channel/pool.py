"""
The connections of a channel: which of them wait for requests, and how many are missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime

from chatfiles.http.server.idle_policy import IdlePolicy
from chatfiles.runtime.settings import ChannelSettings

__all__ = ["MAX_AGE", "SILENCE", "ChannelPool", "PooledConnection"]

#: Seconds without a byte after which a waiting connection is closed.  The platform sends a request
#: on it at least every 25 seconds.
SILENCE: Final = 60.0
#: Seconds after which a connection is replaced.
MAX_AGE: Final = 24 * 3600.0
#: So many times as many connections may wait as are kept waiting.
SURPLUS: Final = 2

_PROBE: Final = b"/health"


class ChannelPool:
    """
    Counts the connections of a channel.

    :param clock: for their age.
    :param settings: how many there may be.
    :param changed: called when one of them has begun to serve a request.  It may add connections.
    :param lost: called with one that was closed.
    :ivar waiting: those that wait for a request.
    :ivar serving: those that serve a request, or are about to be closed.
    :ivar opening: the number of connections that are being made.
    """

    def __init__(
        self,
        clock: IReactorTime,
        settings: ChannelSettings,
        changed: Callable[[], object],
        lost: Callable[[PooledConnection], object],
    ) -> None:
        self.clock = clock
        self.changed = changed
        self.lost = lost
        self.waiting: set[PooledConnection] = set()
        self.serving: set[PooledConnection] = set()
        self.opening = 0
        self._settings = settings

    @property
    def missing(self) -> int:
        """The number of connections to make now."""
        expected = len(self.waiting) + self.opening
        room = self._settings.most - expected - len(self.serving)
        return max(0, min(self._settings.idle - expected, room))

    def has_enough_without(self, connection: PooledConnection) -> bool:
        """:return: whether so many others wait that *connection* is superfluous."""
        others = len(self.waiting) - (connection in self.waiting)
        return others >= SURPLUS * self._settings.idle


class PooledConnection(IdlePolicy):
    """
    One connection of a channel, as its pool sees it.

    :param pool: its pool.
    :ivar has_served: whether it has served a request, or its last one.
    :ivar leaves: whether it will be closed after the next response.
    """

    first_is_due = False

    def __init__(self, pool: ChannelPool) -> None:
        super().__init__(SILENCE)
        self._pool = pool
        self._began = pool.clock.seconds()
        self.has_served = self.leaves = False

    @property
    def age(self) -> float:
        """Seconds since it was accepted."""
        return self._pool.clock.seconds() - self._began

    def request_begins(self, target: bytes) -> bool:
        """See `IdlePolicy`.  A connection in place of this one is made before it serves."""
        self.leaves = self.age >= MAX_AGE or self._pool.has_enough_without(self)
        is_probe = target.partition(b"?")[0] == _PROBE
        if not is_probe or self.leaves:
            self.has_served = True
            self._pool.waiting.discard(self)
            self._pool.serving.add(self)
            self._pool.changed()
        return not self.leaves

    def request_awaited(self) -> float:
        """See `IdlePolicy`."""
        self._pool.serving.discard(self)
        self._pool.waiting.add(self)
        return super().request_awaited()

    def connection_lost(self) -> None:
        """See `IdlePolicy`."""
        self._pool.waiting.discard(self)
        self._pool.serving.discard(self)
        self._pool.lost(self)
