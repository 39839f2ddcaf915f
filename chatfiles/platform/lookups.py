"""
From a name to its addresses, off the reactor's thread.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from itertools import islice

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from chatfiles.platform.addresses import IPAddress

__all__ = ["LOOKUP_THREADS", "MAX_ADDRESSES", "Lookups", "system_lookup"]

#: Threads that look-ups should have; one name takes one of them at most.
LOOKUP_THREADS = 32
#: Addresses a name may have; with more it is refused, so that the work for it is bounded.
MAX_ADDRESSES = 64

#: Host name → its addresses; blocks, and raises `OSError` where there is none.
Lookup = Callable[[str], Sequence[IPAddress]]
#: Calls its first argument with the second in a thread.
InThread = Callable[[Lookup, str], Deferred[Sequence[IPAddress]]]


def system_lookup(host: str) -> Sequence[IPAddress]:
    """:return: at most one more than `MAX_ADDRESSES` different addresses, as the system orders."""
    rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    different = dict.fromkeys(str(row[4][0]) for row in rows)
    return tuple(ip_address(text) for text in islice(different, MAX_ADDRESSES + 1))


class Lookups:
    """
    Looks names up in threads, each name in one thread at a time: a name whose servers do not
    answer holds up those who ask for it, and nobody else.

    :param in_thread: threads that nothing but look-ups use; `LOOKUP_THREADS` of them.
    """

    def __init__(self, in_thread: InThread, lookup: Lookup = system_lookup) -> None:
        self._in_thread = in_thread
        self._lookup = lookup
        self._waiting: dict[str, list[Deferred[Sequence[IPAddress]]]] = {}

    def addresses(self, host: str) -> Deferred[Sequence[IPAddress]]:
        """
        :param host: a name.
        :return: what *lookup* says; to cancel it ends the waiting, not the look-up.
        """
        is_first = host not in self._waiting
        waiting = self._waiting.setdefault(host, [])
        answer: Deferred[Sequence[IPAddress]] = Deferred(waiting.remove)
        waiting.append(answer)
        if is_first:
            self._in_thread(self._lookup, host).addBoth(self._answered, host)
        return answer

    def _answered(self, result: Sequence[IPAddress] | Failure, host: str) -> None:
        waiting = self._waiting.pop(host)
        while waiting:
            waiting.pop(0).callback(result)
