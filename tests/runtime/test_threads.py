"""
Threads: results return to the reactor, and results of cancelled calls are discarded.
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
    """A pool of two threads."""

    def setUp(self) -> None:
        self.threads = Threads(reactor, "test", 2)
        self.threads.start()
        self.addCleanup(self.threads.stop)

    async def test_result(self) -> None:
        """
        Arguments and results are passed on, and results are delivered in the reactor's thread.
        """
        here = threading.current_thread()
        there = await self.threads.run(threading.current_thread)
        self.assertIsNot(there, here)
        self.assertEqual(await self.threads.run(int, "ff", base=16), 255)
        self.assertIs(threading.current_thread(), here)

    async def test_error(self) -> None:
        """An error ends the call, not the thread."""
        with self.assertRaises(ZeroDivisionError):
            await self.threads.run(lambda: 1 // 0)
        self.assertEqual(await self.threads.run(lambda: 1), 1)

    async def test_bounded(self) -> None:
        """At most as many threads are started as the pool has."""
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
        """
        If no thread can be started, the call gets 503 and is not waited for when the role stops.
        """
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
        """The result of a cancelled call is discarded, so that what it owns is released."""
        for fails in (False, True):
            go = threading.Event()
            discarded: list[str] = []

            def call(go: threading.Event = go, fails: bool = fails) -> str:
                go.wait(PATIENCE)
                if fails:
                    raise ValueError
                return "open file"

            waiting: Deferred[str] = self.threads.run(call, discard=discarded.append)
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
        """A result that has been delivered is not discarded."""
        discarded: list[int] = []
        waiting = self.threads.run(lambda: 1, discard=discarded.append)
        self.assertEqual(await waiting, 1)
        waiting.cancel()
        self.assertEqual(discarded, [])

    async def test_asked_before_the_start(self) -> None:
        """A call that is made while a role starts runs once the threads have started."""
        threads = Threads(reactor, "later", 1)
        waiting = threads.run(lambda: 1)
        self.assertFalse(waiting.called)
        threads.start()
        self.addCleanup(threads.stop)
        self.assertEqual(await waiting, 1)

    async def test_owner_that_hangs(self) -> None:
        """One owner's calls do not take all threads; those that are cancelled never run."""
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
        """
        The number of calls that wait is limited, so that a disk that hangs does not fill the
        memory.
        """
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
        """The calls that wait for a disk that hangs leave room in the queue for other owners."""
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
        """`settled` waits for running calls, and for calls that their results lead to."""
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
        """A call that failed or was cancelled does not keep a role from ending."""
        failing = self.threads.run(lambda: 1 // 0)
        failing.addErrback(lambda failure: failure.trap(ZeroDivisionError))
        waiting = self.threads.run(lambda: 1, discard=lambda _: 1 // 0)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        await self.threads.settled()
        await until(reactor, lambda: self.flushLoggedErrors(ZeroDivisionError))

    def test_settled_before_the_start(self) -> None:
        """A role that never began can end."""
        threads = Threads(reactor, "never", 1)
        threads.run(lambda: None)
        self.successResultOf(threads.settled())

    def test_abandoned(self) -> None:
        """The process can end before a call that never returns."""
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
        """Threads that have nothing to do are not left behind."""
        threads = Threads(reactor, "idle", 1, abandon=True)
        threads.start()
        thread = await threads.run(threading.current_thread)
        await threads.settled()
        threads.stop()
        self.assertFalse(thread.is_alive())

    async def test_something_to_abandon(self) -> None:
        """
        `stop` ends the threads without a call.  The others end when what was submitted before has
        run: an application that embeds a role continues without threads of it.
        """
        threads = Threads(reactor, "embedded", 3, per_owner=1, abandon=True)
        threads.start()
        go, hangs = threading.Event(), list[threading.Thread]()
        self.addCleanup(go.set)

        def hang() -> None:
            hangs.append(threading.current_thread())
            go.wait(PATIENCE)

        threads.run(hang, owner="hangs")
        await until(reactor, lambda: hangs)
        last = threads.run(threading.current_thread, owner="hangs")
        idle = await threads.run(threading.current_thread)
        threads.stop()
        threads.stop()
        await until(reactor, lambda: not idle.is_alive())
        self.assertTrue(hangs[0].is_alive())
        go.set()
        hangs.append(await last)  # not always the same: the thread that hung may end first
        await until(reactor, lambda: not any(thread.is_alive() for thread in hangs))

    def test_stop(self) -> None:
        """`stop` can be called before the start, and again after the end."""
        threads = Threads(reactor, "never", 1)
        threads.stop()
        threads.start()
        threads.stop()
        threads.stop()
