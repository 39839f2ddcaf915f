"""
From a name to its addresses, off the reactor's thread.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from ipaddress import ip_address
from itertools import islice

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from chatfiles.errors import Unavailable
from chatfiles.rules.address_policy import IPAddress

__all__ = ["CHECK_THREADS", "LOOKUP_THREADS", "MAX_ADDRESSES", "NameLookup", "system_lookup"]

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
#: Who may have one name looked up at a time.
Owner = Hashable | None
_Waiting = dict[Deferred[Sequence[IPAddress]], Owner]


def system_lookup(host: str) -> Sequence[IPAddress]:
    """:return: at most one more than `MAX_ADDRESSES` different addresses, as the system orders."""
    rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    different = dict.fromkeys(str(row[4][0]) for row in rows)
    return tuple(ip_address(text) for text in islice(different, MAX_ADDRESSES + 1))


class NameLookup:
    """
    Looks names up in threads, each name in one thread at a time, and for each owner one name: one
    whose servers do not answer holds up those who ask for it, and nobody else.

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
        #: For whom the names that have a thread are looked up.
        self._owners: set[Owner] = set()

    def addresses(self, host: str, owner: Owner = None) -> Deferred[Sequence[IPAddress]]:
        """
        :param host: a name.
        :param owner: whoever says what is asked for, as a workspace says its URL; ``None`` if
            nobody has to be held to one name at a time.
        :return: what *lookup* says; to cancel it ends the waiting, not a look-up that has begun.
            Fails with `Unavailable` when too many names are waiting.
        """
        waiting = self._running.get(host)
        if waiting is None:
            if host not in self._queued and len(self._queued) >= self._most_waiting:
                return fail(_busy())
            waiting = self._queued.setdefault(host, {})
        answer: Deferred[Sequence[IPAddress]] = Deferred(partial(self._leaves, host, waiting))
        waiting[answer] = owner
        self._begin()
        return answer

    def _begin(self) -> None:
        while len(self._running) < self._threads and (turn := self._next()) is not None:
            host, owner = turn
            self._running[host] = self._queued.pop(host)
            if owner is not None:
                self._owners.add(owner)
            self._in_thread(self._lookup, host).addBoth(self._answered, host, owner)

    def _next(self) -> tuple[str, Owner] | None:
        for host, waiting in self._queued.items():
            for owner in waiting.values():
                if owner not in self._owners:
                    return host, owner
        return None

    def _leaves(self, host: str, waiting: _Waiting, answer: Deferred[Sequence[IPAddress]]) -> None:
        del waiting[answer]
        if not waiting and self._queued.get(host) is waiting:
            del self._queued[host]

    def _answered(self, result: Sequence[IPAddress] | Failure, host: str, owner: Owner) -> None:
        waiting = self._running.pop(host)
        self._owners.discard(owner)
        while waiting:
            answer = next(iter(waiting))
            del waiting[answer]
            answer.callback(result)
        self._begin()


def _busy() -> Unavailable:
    return Unavailable("too many host names are being looked up — retry shortly", retry_after=5)
