"""
A pool of idle connections to workspaces.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["ConnectionPool"]


class Reusable(Protocol):
    """A connection that can be kept for another request."""

    @property
    def key(self) -> Hashable:
        """Equal for connections that can serve the same requests."""

    @property
    def usable(self) -> bool:
        """Whether a request can be made on it."""

    def disconnect(self) -> Deferred[None]:
        """
        Close it.

        :return: fires when it is closed.
        """


C = TypeVar("C", bound=Reusable)


class ConnectionPool(Generic[C]):
    """
    Keeps idle connections for the next request.

    :param clock: measures the timeout.
    :param timeout: seconds after which an idle connection is no longer used.  It is closed at most
        half of that later.
    :param per_key: maximum number of connections of one key; the oldest is closed first.
    :param in_all: maximum number of all connections.
    :ivar open: number of connections that exist, whether idle or not.
    """

    def __init__(
        self, clock: IReactorTime, *, timeout: float, per_key: int = 32, in_all: int = 512
    ) -> None:
        self._clock = clock
        self._timeout = timeout
        self._per_key = per_key
        self._in_all = in_all
        self._since: dict[C, float] = {}  # oldest first
        self._by_key: dict[Hashable, list[C]] = {}  # each oldest first
        self._sweep: IDelayedCall | None = None
        self._closed = False
        self.open = 0

    def __len__(self) -> int:
        """:return: the number of connections that are kept."""
        return len(self._since)

    def counts(self) -> tuple[int, int]:
        """:return: how many are idle, and how many there are in all."""
        return len(self), self.open

    def take(self, key: Hashable) -> C | None:
        """
        Take a connection out of the pool.

        :return: the usable connection of *key* that was put last; ``None`` if there is none.
        """
        connections = self._by_key.get(key)
        while connections:
            connection = connections.pop()
            if not connections:
                del self._by_key[key]
            fresh = self._clock.seconds() - self._since.pop(connection) < self._timeout
            if connection.usable and fresh:
                return connection
            connection.disconnect()
        return None

    def put(self, connection: C) -> None:
        """Keep a connection whose last response is complete."""
        if self._closed:
            connection.disconnect()
            return
        connections = self._by_key.setdefault(connection.key, [])
        connections.append(connection)
        self._since[connection] = self._clock.seconds()
        if len(connections) > self._per_key:
            self._retire(connections[0])
        if len(self._since) > self._in_all:
            self._retire(next(iter(self._since)))
        if self._sweep is None:
            self._sweep = self._clock.callLater(self._timeout / 2, self._retire_old)

    def drop(self, connection: C) -> None:
        """Remove a connection, if it is kept, without closing it."""
        if self._since.pop(connection, None) is not None:
            connections = self._by_key[connection.key]
            connections.remove(connection)
            if not connections:
                del self._by_key[connection.key]

    def close(self) -> Deferred[None]:
        """
        Close all kept connections, and keep none from now on.

        :return: fires when they are closed.
        """
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        closing = [self._retire(connection) for connection in list(self._since)]
        return gatherResults(closing).addCallback(lambda _: None)

    def _retire(self, connection: C) -> Deferred[None]:
        self.drop(connection)
        return connection.disconnect()

    def _retire_old(self) -> None:
        self._sweep = None
        now = self._clock.seconds()
        for connection, since in list(self._since.items()):
            if now - since < self._timeout:
                break
            self._retire(connection)
        if self._since:
            self._sweep = self._clock.callLater(self._timeout / 2, self._retire_old)
