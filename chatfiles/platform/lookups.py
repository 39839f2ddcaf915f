"""
From a name to its addresses, off the reactor's thread.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address
from itertools import islice

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from chatfiles.errors import Unavailable
from chatfiles.platform.addresses import IPAddress

__all__ = ["CHECK_THREADS", "LOOKUP_THREADS", "MAX_ADDRESSES", "Lookups", "system_lookup"]

#: Threads for the names of workspaces that are dialled.
LOOKUP_THREADS = 32
#: Threads for the names that are registered: callers choose them, as many as they like.
CHECK_THREADS = 4
#: Names that may wait for a thread; one more is refused at once.
MAX_WAITING = 1000
#: Addresses a name may have; with more it is refused, so that the work for it is bounded.
MAX_ADDRESSES = 64

#: Host name → its addresses; blocks, and raises `OSError` where there is none.
Lookup = Callable[[str], Sequence[IPAddress]]
#: Calls its first argument with the second in a thread.
InThread = Callable[[Lookup, str], Deferred[Sequence[IPAddress]]]
_Waiting = list[Deferred[Sequence[IPAddress]]]


def system_lookup(host: str) -> Sequence[IPAddress]:
    """:return: at most one more than `MAX_ADDRESSES` different addresses, as the system orders."""
    rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    different = dict.fromkeys(str(row[4][0]) for row in rows)
    return tuple(ip_address(text) for text in islice(different, MAX_ADDRESSES + 1))


class Lookups:
    """
    Looks names up in threads, each name in one thread at a time: a name whose servers do not
    answer holds up those who ask for it, and nobody else.

    What waits for a thread waits here, not in the pool: a name that nobody waits for any more
    gives up its turn.

    :param in_thread: threads that nothing but look-ups use.
    :param threads: how many they are.
    :param most_waiting: names that may wait for one of them.
    """

    def __init__(
        self,
        in_thread: InThread,
        lookup: Lookup = system_lookup,
        *,
        threads: int = LOOKUP_THREADS,
        most_waiting: int = MAX_WAITING,
    ) -> None:
        self._in_thread = in_thread
        self._lookup = lookup
        self._threads = threads
        self._most_waiting = most_waiting
        #: Who waits for the names that have a thread, and for those that have none yet, in order.
        self._running: dict[str, _Waiting] = {}
        self._queued: dict[str, _Waiting] = {}

    def addresses(self, host: str) -> Deferred[Sequence[IPAddress]]:
        """
        :param host: a name.
        :return: what *lookup* says; to cancel it ends the waiting, not a look-up that has begun.
            Fails with `Unavailable` when too many names are waiting.
        """
        waiting = self._running.get(host)
        if waiting is None:
            if host not in self._queued and len(self._queued) >= self._most_waiting:
                return fail(_busy())
            waiting = self._queued.setdefault(host, [])
        answer: Deferred[Sequence[IPAddress]] = Deferred(partial(self._leaves, host, waiting))
        waiting.append(answer)
        self._begin()
        return answer

    def _begin(self) -> None:
        while self._queued and len(self._running) < self._threads:
            host = next(iter(self._queued))
            self._running[host] = self._queued.pop(host)
            self._in_thread(self._lookup, host).addBoth(self._answered, host)

    def _leaves(self, host: str, waiting: _Waiting, answer: Deferred[Sequence[IPAddress]]) -> None:
        waiting.remove(answer)
        if not waiting and self._queued.get(host) is waiting:
            del self._queued[host]

    def _answered(self, result: Sequence[IPAddress] | Failure, host: str) -> None:
        waiting = self._running.pop(host)
        while waiting:
            waiting.pop(0).callback(result)
        self._begin()


def _busy() -> Unavailable:
    return Unavailable("too many host names are being looked up — retry shortly", retry_after=5)
