"""
Starts, watches and stops the child processes of a foreground program.

Every event while they run (a child is ready, a child ends, a signal arrives) goes through one
queue.  The program handles it where it waits, so that no operation is interrupted half-way.
"""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Self

from chatfiles.cli.errors import CliError
from chatfiles.cli.exit_status import Exit
from chatfiles.cli.interruptible import next_item

__all__ = ["Child", "ChildProcesses", "Stopped"]

#: Lines of a child's log that are kept to explain its end.
TAIL = 12
#: Seconds after SIGTERM after which a child is killed.
STOP_TIMEOUT = 8.0

_READY = re.compile(r"chatfiles (platform|workspace) ready(?: on (\S+)|, without a listener)")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """A signal asked the program to stop.  The program normally ends in this way."""


@dataclass(frozen=True)
class _Ready:
    child: Child
    url: str


@dataclass(frozen=True)
class _Ended:
    child: Child


@dataclass(frozen=True)
class _Signalled:
    signum: int


_Event = _Ready | _Ended | _Signalled


class Child:
    """
    One process; a thread reads its output line by line.

    It has its own session, so that Ctrl-C reaches only the parent.  Its standard input is a pipe,
    which closes when the parent ends.

    :param role: its name in messages.
    :param command: the program and its arguments.
    :param directory: its working directory.
    :param environment: its environment variables.
    :param events: receives an event when it is ready and when it has ended.
    :param on_line: called with the role and each line of its output.
    :param keep_open: descriptors of this process that it has open, too.
    :ivar tail: the last lines of its output.
    """

    def __init__(
        self,
        role: str,
        command: Sequence[str],
        *,
        directory: str,
        environment: Mapping[str, str],
        events: SimpleQueue[_Event],
        on_line: Callable[[str, str], object],
        keep_open: Sequence[int] = (),
    ) -> None:
        self.role = role
        self.tail: deque[str] = deque(maxlen=TAIL)
        self._events = events
        self._on_line = on_line
        self._process = subprocess.Popen(  # noqa: S603 (a command of ours)
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=keep_open,
            encoding="utf-8",
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status, minus the signal that ended it, or ``None`` while it runs."""
        return self._process.poll()

    def signal(self, signum: int) -> None:
        """Send it a signal, if it is still running."""
        self._process.send_signal(signum)

    def close(self) -> None:
        """Wait until it has ended, and close its pipes."""
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self.tail.append(line.rstrip("\n"))
            self._on_line(self.role, line.rstrip("\n"))
            if match := _READY.search(line):
                self._events.put(_Ready(self, match[2] or ""))
        self._process.wait()
        self._events.put(_Ended(self))


class ChildProcesses:
    """
    The children of one program, and the signals to it.  As a context manager, it stops all children
    at the end.

    :param environment: the children's environment variables.
    :param on_line: called with the role and the text of each line that a child writes.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        on_line: Callable[[str, str], object],
    ) -> None:
        self._environment = environment
        self._on_line = on_line
        self._events: SimpleQueue[_Event] = SimpleQueue()  # its put is safe in a signal handler
        self._children: list[Child] = []
        self._kept_open: list[int] = []
        self._ready: dict[Child, str] = {}
        self._handlers: dict[int, Any] = {}

    def start(self, role: str, command: Sequence[str], directory: str) -> Child:
        """
        Start a process.

        :param role: its name in messages.
        :param command: the program and its arguments.
        :param directory: its working directory.
        :return: the process.
        """
        child = Child(
            role,
            command,
            directory=directory,
            environment=self._environment,
            events=self._events,
            on_line=self._on_line,
            keep_open=self._kept_open,
        )
        self._children.append(child)
        return child

    def keep_open(self, descriptor: int) -> None:
        """The processes that are started from now on have *descriptor* open until they end."""
        self._kept_open.append(descriptor)

    def ready(self, child: Child, seconds: float) -> str:
        """
        Wait until *child* logs that it is ready.

        :return: the URL in that line; empty if it does not listen.
        :raise CliError: a child has ended, or *child* has not logged that line within *seconds*.
        :raise Stopped: a signal has arrived.
        """
        deadline = time.monotonic() + seconds
        while child not in self._ready:
            if not self._next(deadline):
                raise CliError(f"the {child.role} is not ready after {seconds:g} s", Exit.FAILED)
        return self._ready[child]

    def watch(self, seconds: float | None = None) -> None:
        """
        Wait while all children run.

        :param seconds: how long to wait; ``None`` for ever.
        :raise CliError: a child has ended.
        :raise Stopped: a signal has arrived.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while self._next(deadline):
            pass

    def stop(self) -> None:
        """
        Stop all children.  Kill them if they have not ended after `STOP_TIMEOUT` seconds, or if a
        signal arrives.  Idempotent.
        """
        deadline = time.monotonic() + STOP_TIMEOUT
        for child in self._children:
            child.signal(signal.SIGTERM)
        while any(child.status is None for child in self._children):
            try:
                event = next_item(self._events, deadline - time.monotonic())
            except Empty:
                event = None
            if event is None or isinstance(event, _Signalled):  # a second signal
                for child in self._children:
                    child.signal(signal.SIGKILL)
                break
        for child in self._children:
            child.close()

    def _next(self, deadline: float | None) -> bool:
        """
        Handle the next event.

        :return: whether there was one before *deadline*.
        :raise CliError: a child has ended.
        :raise Stopped: a signal has arrived.
        """
        seconds = None if deadline is None else deadline - time.monotonic()
        try:
            event = next_item(self._events, seconds)
        except Empty:
            return False
        match event:
            case _Ready(child, url):
                self._ready.setdefault(child, url)
            case _Ended(child):
                raise CliError(
                    f"the {child.role} has ended by itself, with status {child.status}",
                    Exit.FAILED,
                )
            case _Signalled():
                raise Stopped
        return True

    def __enter__(self) -> Self:
        def arrived(signum: int, _frame: FrameType | None) -> None:
            self._events.put(_Signalled(signum))

        for signum in _SIGNALS:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                self._handlers[signum] = signal.signal(signum, arrived)
        return self

    def __exit__(self, *raised: object) -> None:
        try:
            self.stop()
        finally:
            for signum, handler in self._handlers.items():
                signal.signal(signum, handler)
