"""
The first process: it starts workers, replaces those that end, and ends with the last one.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.workers.command import WorkerCommand
from chatfiles.runtime.workers.descriptors import (
    COMMANDS,
    REGISTERED,
    REPORTS,
    STOPPED_LISTENING,
    VARIABLE,
)
from chatfiles.runtime.workers.load import SharedLoads
from chatfiles.runtime.workers.pool import CLOSE_TIMEOUT, END_TIMEOUT, WorkerPool
from chatfiles.runtime.workers.worker_process import FIRST_DELAY, WorkerProcess

DRAIN_DELAY = 3.0
DRAIN_TIMEOUT = 20.0
COMMAND = WorkerCommand(["/python", "-n"], {"HOME": "/"}, None)


class Process:
    """A process that does nothing; it remembers its signals."""

    pid = 77

    def __init__(self) -> None:
        self.signals: list[int] = []
        self.commands: list[bytes] = []

    def writeToChild(self, fd: int, data: bytes) -> None:
        """Remember a command."""
        assert fd == COMMANDS
        self.commands.append(data)

    def signalProcess(self, number: int) -> None:
        """Remember a signal."""
        self.signals.append(number)


class Reactor(Clock):
    """
    A clock that starts no processes.

    :ivar started: the workers that should run, in the order of their starts.
    """

    def __init__(self) -> None:
        super().__init__()
        self.started: list[WorkerProcess] = []

    def spawnProcess(
        self, worker: Any, _program: str, _: Any, environment: Any, *__: Any, **___: Any
    ) -> None:
        """Start a worker."""
        assert environment[VARIABLE] == str(worker.number)
        worker.transport = Process()
        self.started.append(worker)


class PoolTests(SynchronousTestCase):
    """Two workers."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.pool = WorkerPool(self.reactor, 2, COMMAND, DRAIN_DELAY)
        self.addCleanup(os.close, self.pool.shared_fd)
        self.ended: list[int] = []
        self.pool.ended = self.ended.append

    def serve(self) -> Deferred[str]:
        """:return: fires when the workers are ready."""
        serving = Deferred.fromCoroutine(self.pool.serve())
        self.reactor.advance(0)
        return serving

    def ready(self) -> list[WorkerProcess]:
        """:return: the workers, which are ready."""
        serving = self.serve()
        for worker in self.reactor.started:
            worker.childDataReceived(REPORTS, b"\n")
        self.assertEqual(self.successResultOf(serving), "")
        return list(self.reactor.started)

    def end(self, worker: WorkerProcess, reason: Exception | None = None) -> None:
        """A worker has ended."""
        worker.transport = None
        worker.processEnded(Failure(reason or ProcessDone(0)))

    def signals(self, worker: WorkerProcess) -> list[int]:
        """:return: the signals that a worker has received."""
        process: Any = worker.transport
        return list(process.signals)

    def test_ready(self) -> None:
        """The role is ready when all workers are, and says what is missing for one of them."""
        serving = self.serve()
        first, second = self.reactor.started
        first.childDataReceived(REPORTS, b"\n")
        self.assertNoResult(serving)
        second.childDataReceived(REPORTS, b"/ready is still 503: \n")
        self.assertEqual(self.successResultOf(serving), "/ready is still 503: ")
        self.assertEqual(self.pool.pids(), [os.getpid(), 77, 77])

    def test_replaced(self) -> None:
        """A worker that is killed is replaced; until then it counts nowhere."""
        first, _ = self.ready()
        loads = SharedLoads(self.pool.shared_fd)
        for number, connections in ((1, 2), (2, 9)):
            loads.set(number, connections)
        replaced: list[int] = []
        self.pool.replacing = lambda: replaced.append(1)
        self.end(first, ProcessTerminated(signal=signal.SIGKILL))
        self.assertEqual((loads.least(), self.ended, replaced), (9, [1], [1]))
        self.reactor.advance(FIRST_DELAY - 0.1)
        self.assertEqual(len(self.reactor.started), 2)
        self.reactor.advance(0.1)
        self.assertEqual(self.reactor.started[2].number, 1)

    def test_cannot_start(self) -> None:
        """A worker that ends by itself at the start ends the role."""
        serving = self.serve()
        self.end(self.reactor.started[0], ProcessTerminated(exitCode=1))
        error = self.failureResultOf(serving, ValueError)
        self.assertEqual(error.getErrorMessage(), "worker 1 ended with status 1")

    def test_signal(self) -> None:
        """A worker that is being replaced receives a signal when it is ready."""
        first, second = self.ready()
        self.end(first, ProcessTerminated(signal=signal.SIGKILL))
        self.reactor.advance(FIRST_DELAY)
        self.pool.signal_ready(signal.SIGHUP)
        again = self.reactor.started[2]
        self.assertEqual((self.signals(second), self.signals(again)), ([signal.SIGHUP], []))
        again.childDataReceived(REPORTS, b"\n")
        self.assertEqual(self.signals(again), [signal.SIGHUP])

    def test_registered(self) -> None:
        """All workers hear that the role is registered, also those that start later."""

        def commands(worker: WorkerProcess) -> list[bytes]:
            process: Any = worker.transport
            return list(process.commands)

        first, second = self.ready()
        self.assertEqual(commands(first), [])
        self.pool.registered()
        self.end(first, ProcessTerminated(signal=signal.SIGKILL))
        self.reactor.advance(FIRST_DELAY)
        again = self.reactor.started[2]
        self.assertEqual((commands(second), commands(again)), ([REGISTERED], [REGISTERED]))

    def test_register(self) -> None:
        """A worker that needs a registration gets it from the first process."""
        asked: list[int] = []
        self.pool.register = lambda: asked.append(1)
        first, _ = self.ready()
        first.childDataReceived(REPORTS, b"register again\n")
        self.assertEqual(asked, [1])

    def test_drains(self) -> None:
        """Workers are told once to end; the role ends with the last one."""
        workers = self.ready()
        for _ in range(2):
            self.pool.draining = True
        self.assertEqual([self.signals(each) for each in workers], [[signal.SIGTERM]] * 2)
        closed = self.pool.closed()
        for worker in workers:
            self.assertNoResult(closed)
            worker.childDataReceived(REPORTS, STOPPED_LISTENING + b"\n")
        self.successResultOf(closed)
        drained = self.pool.drain(DRAIN_TIMEOUT)
        for worker in workers:
            self.assertNoResult(drained)
            self.end(worker)
        self.successResultOf(drained)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_hangs(self) -> None:
        """A worker that still listens is not waited for; one that does not end is killed."""
        workers = self.ready()
        self.pool.draining = True
        closed = self.pool.closed()
        self.reactor.advance(DRAIN_DELAY + CLOSE_TIMEOUT)
        self.successResultOf(closed)
        drained = self.pool.drain(DRAIN_TIMEOUT)
        self.reactor.advance(DRAIN_TIMEOUT + END_TIMEOUT)
        self.assertNoResult(drained)
        for worker in workers:
            self.assertEqual(self.signals(worker)[-1], signal.SIGKILL)
            self.end(worker, ProcessTerminated(signal=signal.SIGKILL))
        self.successResultOf(drained)

    def test_not_replaced(self) -> None:
        """During the shutdown no worker is started again."""
        first, _ = self.ready()
        self.end(first, ProcessTerminated(signal=signal.SIGKILL))
        self.pool.draining = True
        self.reactor.advance(FIRST_DELAY)
        self.assertEqual(len(self.reactor.started), 2)
