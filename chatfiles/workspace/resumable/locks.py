"""
One request at a time uses an upload.  A new one ends the ``PATCH`` that still runs: its client has
often lost the connection without a notice, and comes back.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.python.failure import Failure

from chatfiles.errors import Locked

__all__ = ["RunInThread", "UploadLock", "UploadLocks"]

T = TypeVar("T")

#: Seconds to wait for the other request to end.
WAIT: Final = 5.0
#: Seconds between two looks at what the other processes of the role do.
POLL: Final = 0.1
#: Where the bytes begin that are locked, of the file that the processes share: one byte for each
#: upload that a process uses, and one for each upload that a process waits for.
_USED_AT, _WANTED_AT = 1 << 50, 1 << 51
#: Hexadecimal digits of an id that choose the byte.
_DIGITS: Final = 12


class RunInThread(Protocol):
    """Calls a function in a thread (`chatfiles.runtime.threads.Threads.run`)."""

    def __call__(self, function: Callable[..., T], /, *args: Any, owner: Hashable) -> Deferred[T]:
        """:return: fires when the function has returned."""


class UploadLock:
    """
    The right to use an upload.  It ends when it was released and the last call has returned.

    :param run: calls a function in a thread.
    :param owner: of the calls.
    :param evict: ends the request that has it; ``None`` if it ends by itself soon.
    :param ended: called at the end.
    """

    def __init__(
        self,
        run: RunInThread,
        owner: Hashable,
        evict: Callable[[], object] | None,
        ended: Callable[[], object],
    ) -> None:
        self._run = run
        self._owner = owner
        self._evict = evict
        self._ended = ended
        self._calls = 0
        self._released = False
        self._waiting: list[Deferred[None]] = []

    def run(
        self,
        function: Callable[..., T],
        /,
        *args: Any,
        discard: Callable[[T], object] | None = None,
    ) -> Deferred[T]:
        """
        Call a function that uses the upload in a thread.

        :param discard: releases, in a thread, a result that arrives after a cancellation.
        :return: fires when the function has returned.  Cancelling it does not stop the function.
        """
        self._calls += 1
        result: Deferred[T] = Deferred(lambda _: None)

        def returned(value: Any) -> None:
            if not result.called:
                result.callback(value)  # a Failure, too
            elif discard is not None and not isinstance(value, Failure):
                self.run(discard, value).addErrback(lambda _: None)
            self._calls -= 1
            self._end()

        self._run(function, *args, owner=self._owner).addBoth(returned)
        return result

    def release(self) -> None:
        """The request needs no further call but those that run.  Idempotent."""
        self._released = True
        self._end()

    def give_up(self) -> None:
        """End the request, if this can be."""
        if self._evict is not None:
            evict, self._evict = self._evict, None
            evict()

    def wait(self) -> Deferred[None]:
        """:return: fires at the end."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _end(self) -> None:
        if self._released and not self._calls:
            self._ended()
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                if not each.called:
                    each.callback(None)


class UploadLocks:
    """
    :param run: calls a function in a thread.
    :param clock: runs timers.
    :param shared_fd: a file that all processes of the role have open for reading and writing;
        ``None`` for one process.
    """

    def __init__(self, run: RunInThread, clock: IReactorTime, shared_fd: int | None = None) -> None:
        self._run = run
        self._clock = clock
        self._fd = shared_fd
        self._held: dict[str, UploadLock] = {}
        self._looks = LoopingCall(self._look)
        self._looks.clock = clock

    async def acquire(
        self,
        upload_id: str,
        owner: Hashable,
        evict: Callable[[], object] | None = None,
        is_awaited: Callable[[], bool] = lambda: True,
    ) -> UploadLock:
        """
        End the request that uses an upload, and wait until it has ended.

        :param owner: see `UploadLock`.
        :param evict: see `UploadLock`.
        :param is_awaited: whether the client of the new request still waits for it; if not, it came
            late, and does not end another request.
        :return: the lock, to be released after use.
        :raise Locked: 423, the other request has not ended in time, or need not end.
        """
        until = self._clock.seconds() + WAIT
        try:
            while True:
                holder = self._held.get(upload_id)
                if holder is None and self._lock(_USED_AT, upload_id):
                    return self._hold(upload_id, owner, evict)
                left = until - self._clock.seconds()
                if left <= 0 or not is_awaited():
                    raise Locked
                await self._wait(upload_id, holder, left)
        finally:
            if self._fd is not None:
                self._unlock(_WANTED_AT, upload_id)

    async def _wait(self, upload_id: str, holder: UploadLock | None, seconds: float) -> None:
        if holder is None:
            self._lock(_WANTED_AT, upload_id)
            await deferLater(self._clock, min(POLL, seconds), lambda: None)
            return
        waiting = holder.wait()
        holder.give_up()
        with suppress(defer.TimeoutError):
            await waiting.addTimeout(seconds, self._clock)

    def _hold(
        self, upload_id: str, owner: Hashable, evict: Callable[[], object] | None
    ) -> UploadLock:
        def ended() -> None:
            if self._held.get(upload_id) is lock:
                del self._held[upload_id]
                self._unlock(_USED_AT, upload_id)
            if not self._held and self._looks.running:
                self._looks.stop()

        lock = self._held[upload_id] = UploadLock(self._run, owner, evict, ended)
        if self._fd is not None and not self._looks.running:
            self._looks.start(POLL)
        return lock

    def _look(self) -> None:
        """End requests whose uploads another process wants."""
        for upload_id, lock in list(self._held.items()):
            if self._lock(_WANTED_AT, upload_id):
                self._unlock(_WANTED_AT, upload_id)
            else:
                lock.give_up()

    def _lock(self, where: int, upload_id: str) -> bool:
        """:return: whether no other process has the byte."""
        if self._fd is None:
            return True
        try:
            operation = fcntl.LOCK_EX | fcntl.LOCK_NB
            fcntl.lockf(self._fd, operation, 1, where + int(upload_id[:_DIGITS], 16))
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _unlock(self, where: int, upload_id: str) -> None:
        if self._fd is not None:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, where + int(upload_id[:_DIGITS], 16))
