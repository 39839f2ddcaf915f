"""
Looks up the addresses of host names in threads.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from ipaddress import ip_address
from itertools import chain, islice

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from chatfiles.errors import Unavailable
from chatfiles.rules.address_policy import IPAddress
from chatfiles.runtime.call_queue import Call, CallQueue, Limits, SpreadResults

__all__ = ["CHECK_THREADS", "LOOKUP_THREADS", "MAX_ADDRESSES", "NameLookup", "system_lookup"]

#: Threads for the host names of workspaces to which the platform connects.
LOOKUP_THREADS = 32
#: Threads for host names in registrations.  Few, because clients choose these names, and their
#: number is not limited.
CHECK_THREADS = 4
#: The most names that may wait for a thread.
MAX_WAITING = 1000
#: The most addresses of a name.  A name with more is refused, to bound the cost.
MAX_ADDRESSES = 64

#: Host name → its addresses.  Blocks; raises `OSError` if the name has none.
Lookup = Callable[[str], Sequence[IPAddress]]
#: Calls its first argument with the second in a thread.
InThread = Callable[[Lookup, str], Deferred[Sequence[IPAddress]]]
#: For each owner, one name is looked up at a time.
Owner = Hashable | None
_Addresses = Deferred[Sequence[IPAddress]]


def system_lookup(host: str) -> Sequence[IPAddress]:
    """
    Look a name up with ``getaddrinfo``.  Blocks.

    :param host: a name.
    :return: at most `MAX_ADDRESSES` + 1 different addresses, in the order of ``getaddrinfo``.
    :raise OSError: the name cannot be looked up, or has no address.
    """
    rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    different = dict.fromkeys(str(row[4][0]) for row in rows)
    return tuple(ip_address(text) for text in islice(different, MAX_ADDRESSES + 1))


class _Name:
    """
    A name that is looked up, or waits to be looked up.

    :ivar waiting: owner → the Deferreds that wait for the addresses.
    :ivar calls: owner → the queued call that looks the name up when it is that owner's turn.  The
        first call that begins does it for all owners.
    """

    __slots__ = ("calls", "host", "is_running", "waiting")

    def __init__(self, host: str) -> None:
        self.host = host
        self.is_running = False
        self.waiting: dict[Owner, dict[_Addresses, None]] = {}
        self.calls: dict[Owner, Deferred[None]] = {}


class NameLookup:
    """
    Looks names up in threads: each name in one thread at a time, and for each owner one name at a
    time.  A name whose servers do not respond delays only look-ups of this name, and other
    look-ups of its owner.

    :param in_thread: calls a function in a thread that only look-ups use.
    :param lookup: looks one name up.
    :param clock: delivers a result that many Deferreds wait for in several turns of the reactor.
    :param threads: the number of threads.
    :param most_waiting: the most names that may wait for a thread.
    """

    def __init__(
        self,
        in_thread: InThread,
        lookup: Lookup = system_lookup,
        *,
        clock: IReactorTime,
        threads: int = LOOKUP_THREADS,
        most_waiting: int = MAX_WAITING,
    ) -> None:
        self._in_thread = in_thread
        self._lookup = lookup
        self._names: dict[str, _Name] = {}
        self._queue = CallQueue(self._begin, clock, Limits(threads, 1, most_waiting))
        self._spread = SpreadResults(clock)

    def addresses(self, host: str, owner: Owner = None) -> Deferred[Sequence[IPAddress]]:
        """
        Look a name up.

        :param host: a name.
        :param owner: identifies the party that chose the name, such as the workspace of a URL;
            ``None`` for no limit on the look-ups of an owner.
        :return: fires or fails with the result of *lookup*.  Fails with `Unavailable` if too many
            names wait for a thread.  If every Deferred of a look-up is cancelled before its turn
            comes, the look-up does not begin.
        """
        name = self._names.get(host) or _Name(host)
        is_new = not (name.is_running or owner in name.calls)
        if is_new and self._queue.is_full(owner):
            return fail(_busy())
        self._names[host] = name
        result: _Addresses = Deferred(partial(self._cancelled, name, owner))
        name.waiting.setdefault(owner, {})[result] = None
        if is_new:
            call: Deferred[None] = self._queue.submit(name, owner=owner)
            call.addErrback(lambda failure: failure.trap(CancelledError))
            if not name.is_running:
                name.calls[owner] = call
        return result

    def _begin(self, call: Call[None]) -> None:
        name: _Name = call.work
        name.is_running = True
        name.calls.pop(call.owner, None)
        for other in name.calls.values():
            other.cancel()
        self._in_thread(self._lookup, name.host).addBoth(self._looked_up, name, call)

    def _looked_up(
        self, result: Sequence[IPAddress] | Failure, name: _Name, call: Call[None]
    ) -> None:
        del self._names[name.host]
        waiting, name.waiting = name.waiting, {}
        for each in chain.from_iterable(list(waiting.values())):
            self._spread.fire(each, result)
        call.finish(None)

    def _cancelled(self, name: _Name, owner: Owner, result: _Addresses) -> None:
        waiting = name.waiting.get(owner, {})
        waiting.pop(result, None)
        if not (waiting or name.is_running):
            del name.waiting[owner]
            name.calls.pop(owner).cancel()
            if not name.calls:
                del self._names[name.host]


def _busy() -> Unavailable:
    return Unavailable("too many host names are being looked up — retry shortly", retry_after=5)
