"""
Shares one read among all calls that need the same key at the same time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

__all__ = ["CoalescedReads"]

#: Deferreds that are fired with one result in one turn of the reactor.  A thousand of them in one
#: turn would delay all other work.
PER_TURN = 20

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class CoalescedReads(Generic[K, V]):
    """
    Reads that are in progress, one for each key.

    :param learned: called with the key and result of each read, unless it was invalidated.
    :param clock: the reactor.
    """

    def __init__(self, learned: Callable[[K, V], None], clock: IReactorTime) -> None:
        self._learned = learned
        self._clock = clock
        self._reads: dict[K, _Read[V]] = {}

    def read(self, key: K, start: Callable[[], Awaitable[V]]) -> Deferred[V]:
        """
        Read *key*, or share a read of it that is in progress.

        :param start: starts a read; called if there is none to share.
        :return: fires with the result.  Cancelling it does not affect other waiters for the read.
        """
        read = self._reads.get(key)
        return self.read_fresh(key, start) if read is None else read.wait()

    def read_fresh(self, key: K, start: Callable[[], Awaitable[V]]) -> Deferred[V]:
        """As `read`, but always start a new read.  Later calls of `read` share it."""
        read: _Read[V] = _Read(lambda: self._stop_sharing(key, read), self._clock)
        self._reads[key] = read
        waiting = read.wait()

        def succeeded(value: V) -> V:
            if self._stop_sharing(key, read):
                self._learned(key, value)
            return value

        def failed(failure: Failure) -> Failure:
            self._stop_sharing(key, read)
            return failure

        read.deliver_from(_deferred(start()).addCallbacks(succeeded, failed))
        return waiting

    def invalidate(self, key: K) -> None:
        """
        Neither share nor report the result of the read of *key* that is in progress: it may be
        outdated.
        """
        self._reads.pop(key, None)

    def invalidate_all(self) -> None:
        """As `invalidate`, for all keys."""
        self._reads.clear()

    def _stop_sharing(self, key: K, read: _Read[V]) -> bool:
        """:return: whether *read* was still shared."""
        if self._reads.get(key) is not read:
            return False
        del self._reads[key]
        return True


class _Read(Generic[V]):
    """
    One read, and the Deferreds that wait for its result.

    :param abandoned: called when the last of these Deferreds was cancelled.
    :param clock: the reactor.
    """

    def __init__(self, abandoned: Callable[[], object], clock: IReactorTime) -> None:
        self._abandoned = abandoned
        self._clock = clock
        self._waiting: list[Deferred[V]] = []
        self._delivery: Deferred[None] | None = None

    def deliver_from(self, result: Deferred[V]) -> None:
        """:param result: its value is given to all waiters when it fires."""
        self._delivery = result.addBoth(self._deliver)

    def wait(self) -> Deferred[V]:
        """:return: fires with the result."""
        waiting: Deferred[V] = Deferred(self._cancelled)
        self._waiting.append(waiting)
        return waiting

    def _cancelled(self, waiting: Deferred[V]) -> None:
        self._waiting.remove(waiting)
        if not self._waiting:
            self._abandoned()
            if self._delivery is not None:
                self._delivery.cancel()

    def _deliver(self, result: V | Failure) -> None:
        for _ in range(PER_TURN):
            if not self._waiting:  # a callback may cancel other waiters
                return
            self._waiting.pop(0).callback(result)
        self._clock.callLater(0, self._deliver, result)


def _deferred(awaitable: Awaitable[V]) -> Deferred[V]:
    if isinstance(awaitable, Deferred):
        return awaitable

    async def wait() -> V:
        return await awaitable

    return Deferred.fromCoroutine(wait())
