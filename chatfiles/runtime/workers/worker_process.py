"""
One worker, as the first process sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from chatfiles.runtime.workers.descriptors import (
    COMMANDS,
    REGISTER_AGAIN,
    REPORTS,
    STOP_NOW,
    STOPPED_LISTENING,
)

__all__ = ["RestartDelay", "WorkerProcess", "how_it_ended"]

#: Seconds until a worker that has ended is replaced: the first time, and at most.  A worker that
#: has run for the latter begins again with the former.
FIRST_DELAY: Final = 1.0
LAST_DELAY: Final = 30.0


@dataclass
class RestartDelay:
    """
    How long to wait before a worker is started again.  Bounds a worker that ends at each start.

    :ivar ends: how often it has ended soon after its start.
    """

    ends: int = 0

    def next(self, ran: float) -> float:
        """
        :param ran: seconds that the worker has run.
        :return: seconds to wait.
        """
        self.ends = 1 if ran >= LAST_DELAY else self.ends + 1
        return min(LAST_DELAY, FIRST_DELAY * 2.0 ** min(self.ends - 1, 16))


class WorkerProcess(ProcessProtocol):
    """
    The process of a worker.

    :param number: of the worker, from 1.
    :param write: takes complete lines of the worker's log.
    :param changed: called when the worker has become ready, or has stopped listening.
    :param ended: called with this object and the reason, when the process has ended.
    :ivar register: called when the worker needs another registration of the role.
    :ivar missing: why its ``/ready`` is not 200; ``None`` until it is ready.
    :ivar listens: whether it may accept connections.
    """

    def __init__(
        self,
        number: int,
        write: Callable[[str], object],
        changed: Callable[[], object],
        ended: Callable[[WorkerProcess, Any], object],
    ) -> None:
        self.number = number
        self.register: Callable[[], object] = lambda: None
        self.missing: str | None = None
        self.listens = True
        self._write = write
        self._changed = changed
        self._ended = ended
        self._partial: dict[int, bytes] = {}
        self._pending: set[int] = set()

    def signal_ready(self, number: int) -> None:
        """Send a signal; if the worker still starts, when it is ready, because it might end."""
        if self.missing is None:
            self._pending.add(number)
        else:
            self.signal(number)

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.transport is not None:
            with suppress(ProcessExitedAlready):
                self.transport.signalProcess(number)

    def stop_now(self) -> None:
        """Make the worker interrupt the transfers that are left."""
        self.command(STOP_NOW)

    def command(self, command: bytes) -> None:
        """Send a command; a worker that still starts reads it later."""
        if self.transport is not None:
            self.transport.writeToChild(COMMANDS, command)

    @property
    def pid(self) -> int | None:
        """The id of the process; ``None`` after its end."""
        return None if self.transport is None else self.transport.pid

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Receive a part of the log, or of a report."""
        lines, newline, partial = (self._partial.get(childFD, b"") + data).rpartition(b"\n")
        self._partial[childFD] = partial
        if childFD != REPORTS:
            if newline:
                self._log(lines + newline)
        elif newline:
            for line in lines.split(b"\n"):
                self._report(line)

    def _report(self, line: bytes) -> None:
        if line == STOPPED_LISTENING:
            self.listens = False
        elif line == REGISTER_AGAIN:
            self.register()
        else:
            self.missing = line.decode()
            while self._pending:
                self.signal(self._pending.pop())
        self._changed()

    def _log(self, lines: bytes) -> None:
        self._write(lines.decode("utf-8", "backslashreplace"))

    def processEnded(self, reason: Failure) -> None:
        """The process has ended, and all of its log has been received."""
        for fd, partial in self._partial.items():
            if partial and fd != REPORTS:
                self._log(partial + b"\n")
        self.listens = False
        self._ended(self, reason.value)


def how_it_ended(reason: Any) -> str:
    """
    :param reason: `ProcessDone` or `ProcessTerminated`.
    :return: how a process has ended, for the log.
    """
    if reason.signal is not None:
        return f"was killed by signal {reason.signal}"
    return f"ended with status {reason.exitCode}"
