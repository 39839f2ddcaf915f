"""
Threads: results come back to the reactor, and what nobody waits for is cared for.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase

from chatfiles.errors import Unavailable
from chatfiles.runtime.threads import Threads
from tests.support.loopback import until
from tests.support.patience import PATIENCE

START = threading.Thread.start


class ThreadsTests(TestCase):
    """With a pool of two."""

    def setUp(self) -> None:
        self.threads = Threads(reactor, "test", 2)
        self.threads.start()
        self.addCleanup(self.threads.stop)

    async def test_result(self) -> None:
        """Results or arguments would be lost, or handed over on another thread."""
        here = threading.current_thread()
        there = await self.threads.run(threading.current_thread)
        self.assertIsNot(there, here)
        self.assertEqual(await self.threads.run(int, "ff", base=16), 255)
        self.assertIs(threading.current_thread(), here)

    async def test_error(self) -> None:
        """An error would end the thread, not the call."""
        with self.assertRaises(ZeroDivisionError):
            await self.threads.run(lambda: 1 // 0)
        self.assertEqual(await self.threads.run(lambda: 1), 1)

    async def test_bounded(self) -> None:
        """As many threads as calls would be started."""
        go = threading.Event()
        names: list[str] = []

        def call() -> None:
            names.append(threading.current_thread().name)
            go.wait(PATIENCE)

        calls = [self.threads.run(call) for _ in range(6)]
        await until(reactor, lambda: len(names) == 2)
        go.set()
        for running in calls:
            await running
        self.assertEqual((len(names), len(set(names))), (6, 2))

    async def test_none_can_be_started(self) -> None:
        """A call that cannot be made would be waited for when the role stops, or be a 500."""
        threads = Threads(reactor, "test", 1)
        threads.start()
        self.addCleanup(threads.stop)

        def refuse(*_: object) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(threading.Thread, "start", refuse)
        error = self.failureResultOf(threads.run(int), Unavailable).value
        self.assertEqual((error.status, error.retry_after), (503, 1))
        self.successResultOf(threads.settled())
        self.patch(threading.Thread, "start", START)
        self.assertEqual(await threads.run(int, "7"), 7)

    async def test_cancelled(self) -> None:
        """A result that owns something would be lost with the call that was given up."""
        for fails in (False, True):
            go = threading.Event()
            discarded: list[str] = []

            def call(go: threading.Event = go, fails: bool = fails) -> str:
                go.wait(PATIENCE)
                if fails:
                    raise ValueError
                return "open file"

            waiting: Deferred[str] = self.threads.run_or_discard(discarded.append, call)
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
            go.set()
            if fails:
                await self.threads.run(lambda: None)
                await self.threads.run(lambda: None)
                self.assertEqual(discarded, [])
            else:
                await until(reactor, lambda discarded=discarded: discarded)  # type: ignore[misc]
                self.assertEqual(discarded, ["open file"])

    async def test_not_discarded(self) -> None:
        """A result would be thrown away although it has arrived."""
        discarded: list[int] = []
        waiting = self.threads.run_or_discard(discarded.append, lambda: 1)
        self.assertEqual(await waiting, 1)
        waiting.cancel()
        self.assertEqual(discarded, [])

    async def test_asked_before_the_start(self) -> None:
        """What is asked for while a role starts would never be done."""
        threads = Threads(reactor, "later", 1)
        waiting = threads.run(lambda: 1)
        self.assertFalse(waiting.called)
        threads.start()
        self.addCleanup(threads.stop)
        self.assertEqual(await waiting, 1)

    async def test_owner_that_hangs(self) -> None:
        """One owner's calls would take all threads; and those given up would be made later."""
        threads = Threads(reactor, "owners", 2, per_owner=1)
        threads.start()
        self.addCleanup(threads.stop)
        go, made = threading.Event(), list[str]()
        self.addCleanup(go.set)
        hangs = threads.run(go.wait, owner="hangs")
        waiting = [threads.run(made.append, "hangs", owner="hangs") for _ in range(100)]
        await threads.run(made.append, "other", owner="other")
        for call in waiting:
            call.cancel()
            self.failureResultOf(call, CancelledError)
        go.set()
        await hangs
        await threads.settled()
        self.assertEqual(made, ["other"])

    async def test_too_many_wait(self) -> None:
        """Calls that wait for a disk that hangs would fill the memory."""
        threads = Threads(reactor, "full", 1, most_waiting=2)
        threads.start()
        self.addCleanup(threads.stop)
        go = threading.Event()
        self.addCleanup(go.set)
        calls: list[Deferred[Any]] = [threads.run(go.wait, owner="hangs") for _ in range(3)]
        self.failureResultOf(threads.run(int, owner="hangs"), Unavailable)
        calls.append(threads.run(int, owner="hangs", refusable=False))
        go.set()
        for call in calls:
            await call

    async def test_owner_with_many_calls(self) -> None:
        """The calls that wait for one disk that hangs would leave no place for others' calls."""
        threads = Threads(reactor, "places", 2, per_owner=1, most_waiting=2)
        threads.start()
        self.addCleanup(threads.stop)
        go = threading.Event()
        self.addCleanup(go.set)
        calls: list[Deferred[Any]] = [threads.run(go.wait, owner="hangs") for _ in range(3)]
        calls += [threads.run(go.wait, owner="other") for _ in range(3)]
        self.failureResultOf(threads.run(int, owner="other"), Unavailable)
        go.set()
        for call in calls:
            await call

    async def test_settled(self) -> None:
        """A role would end while a result is on its way that leads to more."""
        go, done = threading.Event(), list[str]()

        def first() -> str:
            go.wait(PATIENCE)
            return "second"

        self.threads.run(first).addCallback(
            lambda name: self.threads.run(done.append, name).addCallback(lambda _: done.append("!"))
        )
        settled = self.threads.settled()
        await self.threads.run(lambda: None)
        self.assertNoResult(settled)
        go.set()
        await settled
        self.assertEqual(done, ["second", "!"])
        self.successResultOf(self.threads.settled())

    async def test_settled_after_trouble(self) -> None:
        """A call that failed, or that nobody waits for, would keep a role from ending."""
        failing = self.threads.run(lambda: 1 // 0)
        failing.addErrback(lambda failure: failure.trap(ZeroDivisionError))
        waiting = self.threads.run_or_discard(lambda _: 1 // 0, lambda: 1)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        await self.threads.settled()
        await until(reactor, lambda: self.flushLoggedErrors(ZeroDivisionError))

    def test_settled_before_the_start(self) -> None:
        """A role that never began could not end."""
        threads = Threads(reactor, "never", 1)
        threads.run(lambda: None)
        self.successResultOf(threads.settled())

    def test_abandoned(self) -> None:
        """A process would not end before a call that never returns."""
        program = (
            "import threading\n"
            "from twisted.internet import reactor\n"
            "from chatfiles.runtime.threads import Threads\n"
            "threads = Threads(reactor, 'stuck', 1, abandon=True)\n"
            "threads.start()\n"
            "threads.run(threading.Event().wait)\n"
            "threads.stop()\n"
        )
        subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENCE)

    async def test_nothing_to_abandon(self) -> None:
        """Threads would be left behind that have nothing to do."""
        threads = Threads(reactor, "idle", 1, abandon=True)
        threads.start()
        thread = await threads.run(threading.current_thread)
        await threads.settled()
        threads.stop()
        self.assertFalse(thread.is_alive())

    def test_stop(self) -> None:
        """A role that never began could not end; or one that ended not end again."""
        threads = Threads(reactor, "never", 1)
        threads.stop()
        threads.start()
        threads.stop()
        threads.stop()
