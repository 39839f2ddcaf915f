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
#: A connection is in steady use after so many requests, until it has no part in the requests of a
#: while: so many for each connection.
STEADY, WHILE = 8, 2
#: The platform lets so many connections wait.
MOST_WAITING: Final = 16

_PROBE: Final = b"/health"


class ChannelPool:
    """
    Counts the connections of a channel.

    :param clock: for their age.
    :param settings: how many there may be.
    :param changed: called when one of them has begun to serve a request.  It may add connections.
    :param lost: called with one that was closed.
    :ivar waiting: those that wait for a request, without those in `steady`.
    :ivar steady: those that wait for a request, but are in steady use: the next request is probably
        on its way.  If they counted as waiting, this side would never be short of connections while
        it serves quickly, and the platform would let requests wait for one.
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
        self.steady: dict[PooledConnection, int] = {}  # the number of its last request; in order
        self.serving: set[PooledConnection] = set()
        self.opening = 0
        self._requests = 0
        self._settings = settings

    @property
    def missing(self) -> int:
        """The number of connections to make now."""
        missing = self._settings.idle - len(self.waiting) - self.opening
        there = self._count + self.opening
        more = max(missing - len(self.steady), min(missing, MOST_WAITING - there))
        return max(0, min(more, self._settings.most - there))

    @property
    def _count(self) -> int:
        return len(self.waiting) + len(self.steady) + len(self.serving)

    @property
    def is_busy(self) -> bool:
        """Whether there are many requests, so that one that is superfluous now is soon missing."""
        return len(self.steady) > self._settings.idle

    def has_enough_without(self, connection: PooledConnection) -> bool:
        """:return: whether so many others wait that *connection* is superfluous."""
        others = len(self.waiting) - (connection in self.waiting)
        return others >= SURPLUS * self._settings.idle

    def begin(self, connection: PooledConnection) -> None:
        """*connection* begins to serve a request."""
        self.leave(connection)
        self.serving.add(connection)
        self._requests += 1
        self._end_steady_use(self._requests - WHILE * self._count)
        self.changed()

    def _end_steady_use(self, since: int) -> None:
        """Connections without a request *since* that one wait like others."""
        while self.steady:
            first, last_request = next(iter(self.steady.items()))
            if last_request >= since:
                return
            first.served = 0
            self.wait(first)

    def wait(self, connection: PooledConnection) -> None:
        """*connection* waits for a request."""
        self.leave(connection)
        if connection.served < STEADY:
            self.waiting.add(connection)
        else:
            self.steady[connection] = self._requests

    def leave(self, connection: PooledConnection) -> None:
        """*connection* neither waits nor serves."""
        self.waiting.discard(connection)
        self.steady.pop(connection, None)
        self.serving.discard(connection)


class PooledConnection(IdlePolicy):
    """
    One connection of a channel, as its pool sees it.

    :param pool: its pool.
    :ivar served: the number of requests since its steady use has ended, or since the platform has
        asked whether it is alive.
    :ivar has_served: whether it has served a request, or its last one.
    :ivar leaves: whether it will be closed after the next response.
    """

    first_is_due = False

    def __init__(self, pool: ChannelPool) -> None:
        super().__init__(SILENCE)
        self._pool = pool
        self._began = pool.clock.seconds()
        self.served = 0
        self.has_served = self.leaves = False

    @property
    def age(self) -> float:
        """Seconds since it was accepted."""
        return self._pool.clock.seconds() - self._began

    def request_begins(self, target: bytes) -> bool:
        """See `IdlePolicy`.  A connection in place of this one is made before it serves."""
        is_probe = target.partition(b"?")[0] == _PROBE
        self.served = 0 if is_probe else self.served + 1
        is_looked_at = is_probe or not self._pool.is_busy
        is_superfluous = is_looked_at and self._pool.has_enough_without(self)
        self.leaves = is_superfluous or self.age >= MAX_AGE
        if not is_probe or self.leaves:
            self.has_served = True
            self._pool.begin(self)
        return not self.leaves

    def request_awaited(self) -> float:
        """See `IdlePolicy`."""
        self._pool.wait(self)
        return super().request_awaited()

    def connection_lost(self) -> None:
        """See `IdlePolicy`."""
        self._pool.leave(self)
        self._pool.lost(self)
