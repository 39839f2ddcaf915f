"""
The connections of one workspace that are idle, and the requests that wait for one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from chatfiles.platform.channel.connection import ChannelConnection
from chatfiles.platform.channel.waiting_request import Waiter

__all__ = ["ConnectionLine"]

C = TypeVar("C", bound=ChannelConnection)


class ConnectionLine(Generic[C]):
    """
    Gives the connections of one workspace to requests, in the order in which these came.  A
    subclass has the rest of `chatfiles.platform.channel.waiting_request.Here`.

    :ivar connections: all of them, busy ones too.
    """

    def __init__(self) -> None:
        self.connections: dict[C, None] = {}
        self._idle: list[C] = []  # the one that responded last is the last
        self._waiting: dict[Waiter, None] = {}  # in the order in which they came

    @property
    def is_needed(self) -> bool:
        """Whether there are connections, or requests that wait for one."""
        return bool(self.connections or self._waiting)

    @property
    def has_connections(self) -> bool:
        """Whether there are any, idle or busy."""
        return bool(self.connections)

    @property
    def idle(self) -> int:
        """Number of connections that can be taken."""
        return len(self._idle)

    def add(self, connection: C) -> None:
        """A connection was made."""
        self.connections[connection] = None

    def remove(self, connection: C) -> None:
        """A connection is lost."""
        self.withdraw(connection)
        self.connections.pop(connection, None)

    # -- for a waiter

    def take(self) -> C | None:
        """See `chatfiles.platform.channel.waiting_request.Here`."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    def wait(self, waiter: Waiter) -> None:
        """See `chatfiles.platform.channel.waiting_request.Here`."""
        self._waiting[waiter] = None

    def leave(self, waiter: Waiter) -> None:
        """See `chatfiles.platform.channel.waiting_request.Here`."""
        self._waiting.pop(waiter, None)

    # -- for what holds the connections

    def offer(self, connection: C) -> None:
        """A connection has become idle: give it to whom it was meant for, or to who waits."""
        if not connection.usable:
            return
        if connection.retired:
            connection.disconnect()
            return
        claim, connection.claim = connection.claim, None
        if claim is not None and claim(connection):
            return
        for waiter in list(self._waiting):
            if waiter.offer(connection):
                return
        self._idle.append(connection)

    def keep(self, connection: C) -> bool:
        """:return: whether a connection that has become idle is kept, because nothing waits."""
        if self._waiting or connection.claim is not None:
            return False
        self._idle.append(connection)
        return True

    def withdraw(self, connection: C) -> bool:
        """:return: whether the connection was idle; it is not any more."""
        if connection not in self._idle:
            return False
        self._idle.remove(connection)
        return True

    def retire(self, connections: Iterable[C]) -> None:
        """Close connections: idle ones now, busy ones when their response is complete."""
        for connection in list(connections):
            connection.retired = True
            if self.withdraw(connection):
                connection.disconnect()
