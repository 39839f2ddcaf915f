"""
Tests for `chatfiles.workspace.resumable.locks`, in one process and in two.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import Locked
from chatfiles.workspace.resumable.locks import POLL, WAIT, UploadLock, UploadLocks

ONE, OTHER = "0" * 32, "f" * 32


class Threads:
    """Calls return when a test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    def run(self, function: Callable[..., Any], /, *args: Any, owner: object) -> Deferred[Any]:
        called: Deferred[Any] = Deferred()
        self.calls.append((called, lambda: function(*args)))
        return called

    def finish(self) -> None:
        called, function = self.calls.pop(0)
        called.callback(function())


class LocksTests(SynchronousTestCase):
    """`UploadLocks` of one process."""

    fd: int | None = None

    def setUp(self) -> None:
        self.clock, self.threads = Clock(), Threads()
        self.locks = UploadLocks(self.threads.run, self.clock, self.fd)

    def asking(
        self, upload_id: str = ONE, evict: Any = None, *, is_awaited: bool = True
    ) -> Deferred[UploadLock]:
        asked = self.locks.acquire(upload_id, None, evict, lambda: is_awaited)
        return Deferred.fromCoroutine(asked)

    def acquired(self, upload_id: str = ONE, evict: Any = None) -> UploadLock:
        return self.successResultOf(self.asking(upload_id, evict))

    def test_others(self) -> None:
        """Each upload has a lock of its own, which can be had again."""
        self.acquired(OTHER)
        self.acquired().release()
        self.acquired().release()

    def test_evicted(self) -> None:
        """The one who has it is asked to end, once, and the others have it in turn."""
        evicted: list[int] = []
        first = self.acquired(evict=lambda: evicted.append(1))
        second, third = self.asking(), self.asking()
        self.assertEqual(evicted, [1])
        self.assertNoResult(second)
        first.release()
        self.successResultOf(second).release()
        self.successResultOf(third).release()

    def test_running_call(self) -> None:
        """It ends when the last call in a thread has returned, not before."""
        first = self.acquired()
        result = first.run(lambda: 7)
        second = self.asking()
        first.release()
        self.assertNoResult(second)
        self.threads.finish()
        self.assertEqual(self.successResultOf(result), 7)
        self.successResultOf(second)

    def test_cancelled_call(self) -> None:
        """A result that is not wanted any more is released before the lock ends."""
        first, discarded = self.acquired(), list[int]()
        result = first.run(lambda: 7, discard=discarded.append)
        result.cancel()
        self.failureResultOf(result)
        first.release()
        second = self.asking()
        self.threads.finish()
        self.assertNoResult(second)
        self.threads.finish()
        self.assertEqual(discarded, [7])
        self.successResultOf(second)

    def test_timeout(self) -> None:
        """Who waits too long is refused, and does not have it later."""
        first, second = self.acquired(), self.asking()
        self.clock.advance(WAIT - 0.01)
        self.assertNoResult(second)
        self.clock.pump([0.01, POLL])
        self.failureResultOf(second, Locked)
        first.release()
        self.acquired()

    def test_late(self) -> None:
        """A request whose client has left ends no other, but has a lock that is free."""
        late = self.asking(is_awaited=False)
        evicted: list[int] = []
        self.successResultOf(late).release()
        first = self.acquired(evict=lambda: evicted.append(1))
        self.failureResultOf(self.asking(is_awaited=False), Locked)
        self.assertEqual(evicted, [])
        first.release()

    def test_leaving(self) -> None:
        """A client that leaves while it waits does not keep it."""
        first, second = self.acquired(), self.asking()
        second.cancel()
        self.failureResultOf(second)
        first.release()
        self.acquired()


class SharedTests(LocksTests):
    """The same with a file that processes share, and with another process."""

    def setUp(self) -> None:
        self.fd = os.memfd_create("locks")
        self.addCleanup(os.close, self.fd)
        super().setUp()

    def other_process(self, wants: bool) -> tuple[int, int]:
        """:return: a process that has the lock, or wants it, until the pipe is closed; its id."""
        ready, ended = os.pipe(), os.pipe()
        pid = os.fork()
        if not pid:
            os.close(ended[1])
            where = 1 << (51 if wants else 50)
            self.locks._lock(where, ONE)
            os.write(ready[1], b"x")
            os.read(ended[0], 1)
            os._exit(0)
        os.read(ready[0], 1)
        for fd in (*ready, ended[0]):
            os.close(fd)
        return ended[1], pid

    def end(self, process: tuple[int, int]) -> None:
        os.close(process[0])
        os.waitpid(process[1], 0)

    def test_other_process(self) -> None:
        """What another process uses is had when that has ended."""
        other = self.other_process(wants=False)
        waiting = self.asking()
        self.clock.advance(POLL)
        self.assertNoResult(waiting)
        self.end(other)
        self.clock.advance(POLL)
        self.successResultOf(waiting)

    def test_late_elsewhere(self) -> None:
        """Nor does it end one of another process."""
        other = self.other_process(wants=False)
        self.failureResultOf(self.asking(is_awaited=False), Locked)
        self.end(other)

    def test_wanted(self) -> None:
        """A request ends when another process wants its upload."""
        evicted: list[int] = []
        lock = self.acquired(evict=lambda: evicted.append(1))
        self.clock.advance(POLL)
        self.assertEqual(evicted, [])
        other = self.other_process(wants=True)
        self.clock.advance(POLL)
        self.assertEqual(evicted, [1])
        self.end(other)
        lock.release()
        self.assertEqual(self.clock.getDelayedCalls(), [])
