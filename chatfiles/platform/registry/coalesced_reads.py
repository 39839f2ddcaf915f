"""
Shares one read among all calls that need the same key at the same time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from chatfiles.runtime.call_queue import SpreadResults

__all__ = ["CoalescedReads"]

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
        self._spread = SpreadResults(clock)
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
        read: _Read[V] = _Read(lambda: self._stop_sharing(key, read), self._spread)
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
    :param spread: fires them.
    """

    def __init__(self, abandoned: Callable[[], object], spread: SpreadResults) -> None:
        self._abandoned = abandoned
        self._spread = spread
        self._waiting: dict[Deferred[V], None] = {}
        self._delivery: Deferred[None] | None = None

    def deliver_from(self, result: Deferred[V]) -> None:
        """:param result: its value is given to all waiters when it fires."""
        self._delivery = result.addBoth(self._deliver)

    def wait(self) -> Deferred[V]:
        """:return: fires with the result."""
        waiting: Deferred[V] = Deferred(self._cancelled)
        self._waiting[waiting] = None
        return waiting

    def _cancelled(self, waiting: Deferred[V]) -> None:
        self._waiting.pop(waiting, None)
        if not self._waiting:
            self._abandoned()
            if self._delivery is not None:
                self._delivery.cancel()

    def _deliver(self, result: V | Failure) -> None:
        waiting, self._waiting = self._waiting, {}
        for each in waiting:
            self._spread.fire(each, result)


def _deferred(awaitable: Awaitable[V]) -> Deferred[V]:
    if isinstance(awaitable, Deferred):
        return awaitable

    async def wait() -> V:
        return await awaitable

    return Deferred.fromCoroutine(wait())
