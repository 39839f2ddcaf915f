"""
The workers of the first process: starts them, replaces those that end, and stops them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.defer import TimeoutError as NotInTime
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from chatfiles.runtime.role_service import Listener
from chatfiles.runtime.workers.command import WorkerCommand
from chatfiles.runtime.workers.descriptors import (
    COMMANDS,
    FIRST_LISTENER,
    LOADS,
    REGISTERED,
    REPORTS,
    VARIABLE,
)
from chatfiles.runtime.workers.load import SharedLoads
from chatfiles.runtime.workers.worker_process import RestartDelay, WorkerProcess, how_it_ended

__all__ = ["WorkerPool"]

#: Seconds that a worker may take to stop listening, besides the drain delay.
CLOSE_TIMEOUT: Final = 5.0
#: Seconds that a worker may take to end after its transfers, before it is killed.  A workspace may
#: wait for a disk for a part of them.
END_TIMEOUT: Final = 15.0

_log = Logger()


class WorkerPool:
    """
    The workers of a role.  `RoleService` uses it in place of a site.

    :param reactor: provides ``IReactorProcess`` and ``IReactorTime``.
    :param count: the number of workers.
    :param command: what they execute.
    :param drain_delay: seconds for which they continue to accept during shutdown.
    :ivar command: what they execute.
    :ivar write: takes complete lines of their logs; by default, they are logged.
    :ivar ended: called with the number of each worker that has ended.
    :ivar register: called when a worker needs another registration of the role.
    :ivar replacing: called when a worker has ended that will be replaced.
    """

    fast_path = None
    channels = ()

    @staticmethod
    def held() -> int:
        """:return: the number of connections that this process keeps."""
        return 0

    def __init__(
        self,
        reactor: Any,
        count: int,
        command: WorkerCommand,
        drain_delay: float,
    ) -> None:
        self.reactor = reactor
        self.replacing: Callable[[], object] = lambda: None
        self.register: Callable[[], object] = lambda: None
        self._is_registered = False
        self.ended: Callable[[int], object] = lambda _: None
        self.write: Callable[[str], object] = _log_lines
        self.command = command
        self._close_timeout = drain_delay + CLOSE_TIMEOUT
        self._delays = {number: RestartDelay() for number in range(1, count + 1)}
        self._started: dict[int, float] = {}
        self._workers: dict[int, WorkerProcess] = {}
        self._sockets: list[int] = []
        self._no_input = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._loads_fd = SharedLoads.create()
        self._loads = SharedLoads(self._loads_fd)
        self._draining = False
        self._was_ready = False
        self._ready: Deferred[str] = Deferred()
        self._closed: Deferred[None] | None = None
        self._drained: Deferred[None] | None = None
        self._kill: Any = None

    @property
    def shared_fd(self) -> int:
        """A file that all processes of the role have open for writing."""
        return self._loads_fd

    def pids(self) -> list[int]:
        """:return: the ids of the processes of the role, that of this one first."""
        pids = [worker.pid for worker in self._workers.values()]
        return [os.getpid(), *filter(None, pids)]

    # -- the start

    def shared(self, listener: Listener) -> Listener:
        """
        :param listener: where the role listens.
        :return: a listener that leaves it to the workers to accept.
        """
        shared = _SharedEndpoint(self, listener.endpoint)
        return Listener(listener.description, shared, listener.tls)

    def share(self, port: Any) -> IListeningPort:
        """
        Let the workers accept the connections of a port.

        :param port: has a socket.
        :return: the port for the role.
        """
        port.stopReading()
        self._sockets.append(port.fileno())
        return _SharedPort(self, port)

    async def serve(self) -> str:
        """
        Start the workers.

        :return: when all are ready: why ``/ready`` of one of them is not 200; empty if all are.
        :raise ValueError: a worker cannot start; its log says why.
        """
        await deferLater(self.reactor, 0)  # this needs a reactor that is running
        for number in self._delays:
            self._start(number)
        missing = await self._ready
        self._was_ready = True
        return missing

    def _start(self, number: int) -> None:
        if self._draining:
            return
        worker = WorkerProcess(number, self.write, self._changed, self._ended)
        descriptors: dict[int, Any] = {
            0: self._no_input,
            1: "r",
            2: "r",
            COMMANDS: "w",
            REPORTS: "r",
        }
        descriptors[LOADS] = self._loads_fd
        descriptors |= {FIRST_LISTENER + at: fd for at, fd in enumerate(self._sockets)}
        command = self.command
        self._started[number] = self.reactor.seconds()
        try:
            self.reactor.spawnProcess(
                worker,
                command.arguments[0],
                command.arguments,
                {**command.environment, VARIABLE: str(number)},
                command.directory,
                childFDs=descriptors,
            )
        except OSError as error:
            self._failed(number, f"worker {number} cannot be started: {error.strerror}")
            return
        self._workers[number] = worker
        worker.register = self.register
        if self._is_registered:
            worker.command(REGISTERED)
        _log.info("worker {number} is process {pid}", number=number, pid=worker.pid)

    def _changed(self) -> None:
        missing = [worker.missing for worker in self._workers.values()]
        if not self._ready.called and None not in missing and len(missing) == len(self._delays):
            self._ready.callback(next(filter(None, missing), ""))
        if self._closed is not None and not any(w.listens for w in self._workers.values()):
            closed, self._closed = self._closed, None
            closed.callback(None)

    # -- the end of a worker

    def _ended(self, worker: WorkerProcess, reason: Any) -> None:
        del self._workers[worker.number]
        self._loads.forget(worker.number)
        self.ended(worker.number)
        text = f"worker {worker.number} {how_it_ended(reason)}"
        if self._draining:
            self._changed()
            self._end_if_drained()
        elif reason.signal is None:
            self._failed(worker.number, text)
        else:
            self._replace(worker.number, text)

    def _failed(self, number: int, text: str) -> None:
        """A worker has ended by itself: if this is at the start, the role cannot start."""
        if self._was_ready:
            self._replace(number, text)
        elif not self._ready.called:
            self._ready.errback(ValueError(text))

    def _replace(self, number: int, text: str) -> None:
        seconds = self._delays[number].next(self.reactor.seconds() - self._started[number])
        _log.warn("{text}; it is replaced in {seconds:g} s", text=text, seconds=seconds)
        self.reactor.callLater(seconds, self._start, number)
        self.replacing()

    # -- registration, signals, and the shutdown

    def registered(self) -> None:
        """Let the workers know that the role is registered."""
        self._is_registered = True
        for worker in self._workers.values():
            worker.command(REGISTERED)

    def signal_ready(self, number: int) -> None:
        """
        Send a signal to the workers, to each of them when it is ready.

        :param number: of the signal.
        """
        for worker in self._workers.values():
            worker.signal_ready(number)

    @property
    def draining(self) -> bool:
        """Whether the workers drain.  Once it is set, they do."""
        return self._draining

    @draining.setter
    def draining(self, on: bool) -> None:
        if on and not self._draining:
            self._draining = True
            for worker in self._workers.values():
                worker.signal(signal.SIGTERM)

    def closed(self) -> Deferred[None]:
        """
        :return: fires when no worker accepts connections any more, or takes too long for it.
        """
        if self._closed is None and any(worker.listens for worker in self._workers.values()):
            self._closed = Deferred()
            self._closed.addTimeout(self._close_timeout, self.reactor)
            self._closed.addErrback(lambda failure: failure.trap(NotInTime) and None)
            return self._closed
        return succeed(None)

    def drain(self, timeout: float) -> Deferred[None]:
        """
        Wait for the end of the workers, and kill them if they take too long.

        :param timeout: seconds that running transfers may take.
        :return: fires when all have ended.
        """
        self._drained = Deferred()
        self._kill = self.reactor.callLater(timeout + END_TIMEOUT, self._kill_all)
        self._end_if_drained()
        return self._drained

    def stop_now(self) -> None:
        """Interrupt all running transfers."""
        for worker in self._workers.values():
            worker.stop_now()
        if self._kill is not None and self._kill.active():
            self._kill.reset(END_TIMEOUT)

    def _kill_all(self) -> None:
        for worker in self._workers.values():
            _log.warn("worker {number} does not end; it is killed", number=worker.number)
            worker.signal(signal.SIGKILL)

    def _end_if_drained(self) -> None:
        if self._drained is not None and not self._workers:
            drained, self._drained = self._drained, None
            if self._kill.active():
                self._kill.cancel()
            drained.callback(None)


def _log_lines(lines: str) -> None:
    for line in lines.splitlines():
        _log.info("{line}", line=line)


@implementer(IStreamServerEndpoint)
class _SharedEndpoint:
    def __init__(self, pool: WorkerPool, endpoint: IStreamServerEndpoint) -> None:
        self._pool = pool
        self._endpoint = endpoint

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen, but do not accept.  The factory is not used."""
        nothing = Factory()
        nothing.noisy = False
        return self._endpoint.listen(nothing).addCallback(self._pool.share)


@implementer(IListeningPort)
class _SharedPort:
    """Closes a port when the workers have closed theirs: Twisted shuts down its socket."""

    def __init__(self, pool: WorkerPool, port: IListeningPort) -> None:
        self._pool = pool
        self._port = port

    def startListening(self) -> None:
        """It does already."""

    def getHost(self) -> IAddress:
        """:return: the address of the port."""
        return self._port.getHost()

    def stopListening(self) -> Deferred[None]:
        """:return: fires when the port is closed."""
        return self._pool.closed().addCallback(lambda _: self._port.stopListening())
